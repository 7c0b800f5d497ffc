"""Statements over several data sets: means with intervals for these sets and for sets like these, and fits.

D data sets. Targets of one set that differ in the number of labels share its images and count as one set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from robust_transfer.core import statistics
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.analysis.samples import Sample

Array = npt.NDArray[np.float64]
Measure = Literal["gains", "differences", "estimates"]


@dataclass(frozen=True)
class SetsMean:
    """A mean over data sets, each weighted alike.

    low, high, p : for these sets, over replicates and images; None for published numbers
    like_low, like_high : for the mean of sets like these (t over sets), None for one set
    new_low, new_high : for one more set like these (prediction interval)
    heterogeneity : I squared, the share of the variance of set means that images and runs do not explain
    sets : the mean of each set
    shared, most : models (pre-training and replicate) that all targets share and that all of this is
        computed from, and the most that a target has; 0 where there is no interval
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    method: str
    like_low: float | None
    like_high: float | None
    new_low: float | None
    new_high: float | None
    heterogeneity: float | None
    sets: Mapping[str, float]
    shared: int = 0
    most: int = 0

    @property
    def partly(self) -> str:
        """Say how many of the models are behind the mean, where that is not all of them."""
        return (
            f"{self.shared} of {self.most} models, those that all targets share"
            if self.shared < self.most
            else ""
        )

    @property
    def falling(self) -> tuple[str, ...]:
        """Sets whose mean is below 0."""
        return tuple(name for name, value in self.sets.items() if value < 0)

    @property
    def rising(self) -> tuple[str, ...]:
        """Sets whose mean is above 0."""
        return tuple(name for name, value in self.sets.items() if value > 0)


def over_sets(results: Sequence[Result], metric: str, measure: Measure) -> SetsMean:
    """Return the mean over data sets of what results hold under `measure` in a metric.

    Where some targets have fewer models than others, all is computed from those that all targets share: a
    mean of what one target has and an interval of another's would not belong together. (Gains of such a part
    hold to first order.)
    """
    by_set: dict[str, list[Estimate]] = {}
    for result in results:
        by_set.setdefault(result.cell.dataset, []).append(getattr(result, measure)[metric])
    samples = [[estimate.sample for estimate in estimates] for estimates in by_set.values()]
    arrays = aligned(samples)
    if arrays is None:
        means = {name: float(np.mean([e.value for e in estimates])) for name, estimates in by_set.items()}
        like, new = over_like_sets(list(means.values()))
        value = float(np.mean(list(means.values())))
        return SetsMean(value, None, None, None, "", *like, *new, None, means)
    mean = crossed.mean(*arrays)
    own = [crossed.mean(values) for values in arrays]
    like, new = over_like_sets([m.value for m in own])
    return SetsMean(
        *(mean.value, mean.low, mean.high, mean.p, mean.method, *like, *new),
        heterogeneity=_heterogeneity([m.value for m in own], [m.high - m.low for m in own]),
        sets={name: m.value for name, m in zip(by_set, own, strict=True)},
        shared=arrays[0].shape[0] * arrays[0].shape[1],
        most=max(len(sample.at) for group in samples for sample in group if sample is not None),
    )


def over_like_sets(means: Sequence[float]) -> tuple[tuple[float | None, float | None], ...]:
    """Return the intervals of the mean of sets like these, and of one more set: t over sets, 95 %."""
    from scipy.special import stdtrit

    count = len(means)
    if count < 2:
        return (None, None), (None, None)
    centre, deviation = float(np.mean(means)), float(np.std(means, ddof=1))
    quantile = float(stdtrit(count - 1, (1 + statistics.LEVEL) / 2))
    half, more = quantile * deviation / math.sqrt(count), quantile * deviation * math.sqrt(1 + 1 / count)
    return (centre - half, centre + half), (centre - more, centre + more)


def _heterogeneity(means: Sequence[float], widths: Sequence[float]) -> float | None:
    """Return I squared: Cochran's Q beyond its degrees of freedom, as a share of Q."""
    variances = (np.asarray(widths) / 3.92) ** 2
    if len(means) < 2 or not np.all(variances > 0):
        return None
    centre = np.average(means, weights=1 / variances)
    q = float(np.sum((np.asarray(means) - centre) ** 2 / variances))
    return max(0.0, 1 - (len(means) - 1) / q) if q > 0 else 0.0


def aligned(sets: Sequence[Sequence[Sample | None]]) -> list[Array] | None:
    """Return each set's values (P, S, N), averaged over its targets, at the places that all share."""
    available = [[sample for sample in samples if sample is not None] for samples in sets]
    if any(len(ours) < len(theirs) for ours, theirs in zip(available, sets, strict=True)):
        return None
    every = [sample for samples in available for sample in samples]
    common = [place for place in every[0].at if all(place in other.at for other in every)]
    if not common:
        return None
    return [np.mean([sample.kept(common).values for sample in samples], axis=0) for samples in available]


def having(results: Sequence[Result], metric: str) -> list[Result]:
    """Return the results with gains in `metric` and SA: without pre-training both are shown to exceed 0."""
    return [result for result in results if {"sa", metric} <= result.gains.keys()]


def fit_gains(results: Sequence[Result], metric: str) -> statistics.Line:
    """Fit gains in `metric` on those in SA by least squares; needs three targets, else NaN."""
    x, y = ([result.gains[m].value for result in results] for m in ("sa", metric))
    return statistics.fit_line(x, y)
