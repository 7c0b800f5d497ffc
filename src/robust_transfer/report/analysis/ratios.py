"""Conditional robustness RA/SA: the share of correct images that stay correct under attack.

RA of a method that raises SA rises with it. RA/SA does not, unless newly correct images are easier or harder
than the rest; `conditional` removes that where records of both models exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_transfer.core.statistics import Z95
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.estimates import Estimate, Result, paired_samples
from robust_transfer.report.analysis.samples import Sample, combined

FEWEST = 6  # sets: with five, no outcome of a signed-rank test is below 5 %


def ratio_change(ours: Result, theirs: Result) -> Estimate | None:
    """Return the change in RA/SA with its interval: of runs paired on images, of published numbers by n.

    None where a model is never correct, or nothing is shared.
    """
    values = [[result.estimates[metric].value for metric in ("sa", "ra")] for result in (ours, theirs)]
    if min(sa for sa, _ in values) == 0:
        return None
    sa, ra = (paired_samples(ours, theirs, metric) for metric in ("sa", "ra"))
    if sa is None or ra is None:
        return _published(ours, theirs)
    if min(float(sample.values.mean()) for sample in sa) == 0:
        return None
    sample = combined(np.subtract, _linear(sa[0], ra[0]), _linear(sa[1], ra[1]))
    mean = crossed.mean(sample.values)
    return Estimate(mean.value, mean.low, mean.high, mean.method, mean.p, None, sample)


def _linear(sa: Sample, ra: Sample) -> Sample:
    """Return values whose mean is RA/SA, and whose spread is that of the ratio for small deviations."""
    share = float(sa.values.mean())
    ratio = float(ra.values.mean()) / share
    return combined(lambda right, robust: ratio + (robust - ratio * right) / share, sa, ra)


def _published(ours: Result, theirs: Result) -> Estimate | None:
    from scipy.special import ndtr

    change, variance = 0.0, 0.0
    for sign, result in ((1, ours), (-1, theirs)):
        if not result.num_images:
            return None
        share = result.estimates["sa"].value
        ratio = result.estimates["ra"].value / share
        change += sign * ratio
        variance += ratio * (1 - ratio) / (result.num_images * share)
    half = Z95 * math.sqrt(variance)
    p = float(2 * ndtr(-abs(change) / math.sqrt(variance))) if variance > 0 else float(change == 0)
    return Estimate(change, change - half, change + half, "two independent proportions", p)


@dataclass(frozen=True)
class Signs:
    """Over data sets: how many fall and rise, and Wilcoxon's signed-rank p-value."""

    falling: int
    rising: int
    p: float


def signs(changes: Sequence[float]) -> Signs | None:
    """Return a rank test over data sets, each of which is one observation; None for fewer than six."""
    from scipy.stats import wilcoxon

    values = np.asarray(changes, dtype=np.float64)
    if values.size < FEWEST or not values.any():
        return None
    distinct = np.unique(np.abs(values)).size == values.size and values.all()
    p = float(wilcoxon(values, method="exact" if distinct else "approx").pvalue)
    return Signs(int((values < 0).sum()), int((values > 0).sum()), p)
