"""Statements over several data sets: mean gains and fits of one gain on another, with their uncertainty.

D data sets, R bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from robust_transfer.core import statistics
from robust_transfer.report.analysis.estimates import Estimate, Result

Array = npt.NDArray[np.float64]


def mean_gain(results: Sequence[Result], metric: str) -> Estimate:
    """Return the mean over data sets of their relative gains in `metric` (the study's average).

    Its interval resamples seeds and test images within each set; the sets themselves are given.
    """
    value = float(np.mean([result.gains[metric].value for result in results]))
    samples = gain_samples(results, metric)
    if samples is None:
        return Estimate(value)
    means = samples.mean(axis=1)
    low, high = statistics.percentiles(means)
    return Estimate(value, low, high, "bootstrap over seeds and images within sets", None, means)


def having(results: Sequence[Result], metric: str) -> list[Result]:
    """Return the results with a gain in `metric`: without pre-training it was above 0."""
    return [result for result in results if metric in result.gains]


def differences(first: Result, second: Result) -> Result:
    """Return `first` with its gains replaced by its differences to `second`, in each metric's own unit.

    Their intervals are paired ones: both results have the same data set, so they share its draws.
    """
    found = {}
    for metric in (m for m in first.estimates if m in second.estimates):
        ours, theirs = first.estimates[metric], second.estimates[metric]
        assert ours.samples is not None and theirs.samples is not None
        samples = ours.samples - theirs.samples
        low, high = statistics.percentiles(samples)
        found[metric] = Estimate(ours.value - theirs.value, low, high, "paired bootstrap", None, samples)
    return replace(first, gains=found)


def gain_samples(results: Sequence[Result], metric: str) -> Array | None:
    """Return (R, D) resampled gains, None where a number is published and so cannot be resampled."""
    samples = [result.gains[metric].samples for result in results]
    known = [sample for sample in samples if sample is not None]
    return np.stack(known, axis=1) if len(known) == len(samples) else None


@dataclass(frozen=True)
class GainFit:
    """The line of relative gains in one metric on relative gains in SA, one point a data set."""

    line: statistics.Line
    low: float
    high: float
    method: str


def fit_gains(results: Sequence[Result], metric: str) -> GainFit:
    """Fit gains in `metric` on gains in SA over data sets; needs three sets, else NaN.

    The interval of R^2 resamples seeds and images within sets where there are records (`r2_spread`), else the
    sets themselves (`r2_interval`).
    """
    x = [result.gains["sa"].value for result in results]
    y = [result.gains[metric].value for result in results]
    line = statistics.fit_line(x, y)
    x_samples, y_samples = gain_samples(results, "sa"), gain_samples(results, metric)
    if not np.isfinite(line.r2):
        return GainFit(line, float("nan"), float("nan"), "")
    if x_samples is None or y_samples is None:
        return GainFit(line, *statistics.r2_interval(x, y), "bootstrap over data sets")
    low, high = statistics.r2_spread(line.r2, statistics.r_squared(x_samples, y_samples))
    return GainFit(line, low, high, "bootstrap over seeds and images within sets")
