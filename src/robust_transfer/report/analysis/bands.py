"""Curves over images with bands that hold for all of a curve at once.

A curve is the mean of (P, S, N) values at each of K points, such as "certified at radius r". Intervals at one
point each cover the curve at that point in 95 % of cases; somewhere they miss it far more often. The level at
which intervals are taken is raised so that the largest deviation along the curve is inside: its distribution
comes from redrawing the images' weights, which keeps the correlation between points.

At such a level two or three replicates cannot estimate their own spread. With fewer than five the band is for
the mean of these very models, over images like these.

References
----------
Montiel Olea and Plagborg-Moller 2019 (sup-t bands by a Gaussian multiplier bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_transfer.core import rng
from robust_transfer.core.statistics import LEVEL
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.crossed import Array

DRAWS = 1000
FEWEST = 5  # replicates whose spread a band can hold


@dataclass(frozen=True)
class Band:
    """A curve at K points with a simultaneous 95 % band.

    level : of the interval at each point
    replicated : the band holds the spread of replicates too, else it is for these models
    """

    value: Array
    low: Array
    high: Array
    level: float
    replicated: bool


def band(values: Sequence[Array], *, differences: bool = False) -> Band:
    """Return the curve of K arrays (P, S, N) in [0, 1], or in [-1, 1] for `differences`."""
    images = [points.mean(axis=(0, 1)) for points in values]
    level = simultaneous_level(images)
    pretrainings, replicates, _ = values[0].shape
    replicated = (pretrainings if pretrainings > 1 else replicates) >= FEWEST
    interval = crossed.mean if differences else crossed.proportion
    drawn = values if replicated else [points.reshape(1, 1, -1) for points in images]
    means = [interval(points, level=level) for points in drawn]
    bottom = -1.0 if differences else 0.0
    return Band(
        np.array([mean.value for mean in means]),
        np.array([max(bottom, mean.low) for mean in means]),
        np.array([min(1.0, mean.high) for mean in means]),
        level,
        replicated,
    )


def simultaneous_level(curves: Sequence[Array]) -> float:
    """Return the level at which intervals at K points, given (N,) values at each, cover all at once."""
    from scipy.special import ndtr

    images = np.array(curves)
    deviations = images - images.mean(axis=1, keepdims=True)
    scales = np.sqrt((deviations**2).sum(axis=1, keepdims=True))
    varying = scales[:, 0] > 0
    if not varying.any():
        return LEVEL
    draws = rng.numpy_generator("bands", images.shape[1]).standard_normal((images.shape[1], DRAWS))
    largest = np.abs(deviations[varying] / scales[varying] @ draws).max(axis=0)
    return float(2 * ndtr(np.quantile(largest, LEVEL)) - 1)
