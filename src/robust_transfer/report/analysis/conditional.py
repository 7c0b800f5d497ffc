"""Robustness given correctness: the change in RA beyond what the change in SA explains.

RA counts images that are correct and stay so, and so moves with SA by construction. Two measures remove
that: robustness among the images that two models both classify correctly, and the R squared of changes in
RA on changes in SA to expect if RA/SA of each target had not changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robust_transfer.core import rng, statistics
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.averages import Measure
from robust_transfer.report.analysis.estimates import Estimate, Result, paired_samples
from robust_transfer.report.analysis.samples import combined

DRAWS = 2000


def conditional(first: Result, second: Result) -> Result | None:
    """Return `first` with the difference in RA among the images that both classify correctly, or None.

    Per image, seed and pre-training: both correct, and robust under one but not the other.
    """
    pairs = [paired_samples(first, second, metric) for metric in ("sa", "ra")]
    if pairs[0] is None or pairs[1] is None:
        return None
    (our_sa, their_sa), (our_ra, their_ra) = pairs[0], pairs[1]
    both = combined(np.multiply, our_sa, their_sa)
    share = float(both.values.mean())
    if share == 0:
        return None
    won = combined(lambda a, b, c, d: a * b - c * d, our_ra, their_sa, their_ra, our_sa)
    value = float(won.values.mean()) / share
    # Its spread for small deviations of both means; the test is that of `won` alone.
    sample = combined(lambda one, two: value + (one - value * two) / share, won, both)
    mean = crossed.mean(sample.values)
    estimate = Estimate(value, mean.low, mean.high, mean.method, mean.p, None, sample)
    return replace(first, differences={"ra": estimate})


@dataclass(frozen=True)
class Mechanical:
    """R squared, and its median and central 95 % if RA/SA of each target had not changed."""

    r2: float
    median: float
    low: float
    high: float


def mechanical_r2(pairs: Sequence[tuple[Result, Result]], measure: Measure) -> Mechanical | None:
    """Return the R squared of changes in RA on changes in SA beside its mechanical reference.

    The reference draws, for each target, correct images by the SA of either model and robust ones among them
    by the second model's RA/SA, on as many images as were measured. None with fewer than three targets.
    """
    usable = [
        (ours, theirs)
        for ours, theirs in pairs
        if {"sa", "ra"} <= getattr(ours, measure).keys()
        and ours.num_images
        and theirs.estimates["sa"].value > 0
    ]
    if len(usable) < 3:
        return None
    changes = ([getattr(ours, measure)[metric].value for ours, _ in usable] for metric in ("sa", "ra"))
    r2 = statistics.fit_line(*changes).r2
    generator = rng.numpy_generator("mechanical", len(usable))
    drawn = np.array([_redrawn(generator, ours, theirs, measure) for ours, theirs in usable])  # (D, 2, R)
    references_r2 = statistics.r_squared(drawn[:, 0].T, drawn[:, 1].T)
    finite = references_r2[np.isfinite(references_r2)]
    if not math.isfinite(r2) or not finite.size:
        return None
    low, median, high = np.quantile(finite, [0.025, 0.5, 0.975])
    return Mechanical(r2, float(median), float(low), float(high))


def _redrawn(
    generator: np.random.Generator, ours: Result, theirs: Result, measure: Measure
) -> list[statistics.Array]:
    """Draw (R,) changes in SA and in RA of one target."""
    n = int(ours.num_images or 0)
    before, after = theirs.estimates["sa"].value, ours.estimates["sa"].value
    kept = min(1.0, theirs.estimates["ra"].value / before)
    right = [generator.binomial(n, share, size=DRAWS) for share in (before, after)]
    robust = [generator.binomial(count, kept) for count in right]
    if measure == "gains":
        return [np.where(a > 0, b / np.maximum(a, 1) - 1, np.nan) for a, b in (right, robust)]
    return [(b - a) / n for a, b in (right, robust)]
