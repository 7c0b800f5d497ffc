"""Intervals of one evaluation, adjusted p-values and line fits; cheap to import.

N images, D points, R bootstrap resamples. All intervals are two-sided, 95 % unless said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robust_transfer.core import rng
from robust_transfer.core.binomial import lower_bound, upper_bound

LEVEL = 0.95
Z95, Z90, Z80 = 1.959964, 1.644854, 0.841621  # standard normal: two-sided 95 and 90 %, one-sided 80 %
RESAMPLES = 4000
CHUNK = 2_000_000  # indices drawn at once: bounds the memory of a bootstrap over 25,000 images

Array = npt.NDArray[np.float64]
Values = npt.ArrayLike


def proportion_interval(successes: int, n: int, *, level: float = LEVEL) -> tuple[float, float, str]:
    """Bound a proportion exactly: the interval covers the truth with at least `level`.

    Parameters
    ----------
    successes, n : counts, 0 <= successes <= n, n >= 1

    Returns
    -------
    (low, high, method) : fractions in [0, 1]

    References
    ----------
    Clopper and Pearson 1934: quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k).
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} successes of {n} (expected 0 <= successes <= n and n >= 1)")
    tail = (1 - level) / 2
    return lower_bound(successes, n, tail), upper_bound(successes, n, tail), "Clopper-Pearson"


def mean_interval(values: Values, *, level: float = LEVEL, seed: int = 0) -> tuple[float, float, str]:
    """Bound the mean of N values by a percentile bootstrap over them.

    The draws are keyed by (seed, "mean_interval", N): the same values give the same interval.

    Parameters
    ----------
    values : (N,) numbers, N >= 1, such as radius x correct per image

    Returns
    -------
    (low, high, method)

    References
    ----------
    Efron and Tibshirani 1993, section 13.3.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"values have shape {data.shape} (expected (N,) with N >= 1)")
    generator = rng.numpy_generator("mean_interval", data.size, seed=seed)
    means = np.concatenate([data[rows].mean(axis=1) for rows in index_resamples(data.size, generator)])
    low, high = percentiles(means, level=level)
    return low, high, f"bootstrap, percentile, {RESAMPLES} resamples"


def mean_per_class(labels: Values, correct: Values) -> float:
    """Return the mean over classes of the share of correct images, as several data sets are scored.

    Parameters
    ----------
    labels, correct : (N,) class of each image; true where it counts. Classes without images are left out.
    """
    _, position = np.unique(np.asarray(labels), return_inverse=True)
    hits = np.bincount(position, weights=np.asarray(correct, dtype=np.float64))
    return float(np.mean(hits / np.bincount(position)))


def percentiles(samples: Values, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the central `level` of bootstrap samples, non-finite ones left out."""
    finite = np.asarray(samples, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def index_resamples(
    n: int, generator: np.random.Generator, *, resamples: int = RESAMPLES
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield blocks of rows of n indices drawn with replacement, `resamples` rows in all."""
    rows = max(1, CHUNK // n)
    for start in range(0, resamples, rows):
        yield generator.integers(0, n, size=(min(rows, resamples - start), n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false rejection among them stays below the level.

    References
    ----------
    Holm 1979, step-down.
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


# ---------------------------------------------------------------- line fits


@dataclass(frozen=True)
class Line:
    """A least-squares line and the share of variance it explains."""

    slope: float
    intercept: float
    r2: float


def fit_line(x: Values, y: Values) -> Line:
    """Fit y = intercept + slope x by least squares.

    Parameters
    ----------
    x, y : (D,) numbers, D >= 3, neither constant; otherwise every field is NaN
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    r2 = float(r_squared(a, b)) if a.size >= 3 else float("nan")
    if not np.isfinite(r2):
        return Line(float("nan"), float("nan"), float("nan"))
    dx = a - a.mean()
    slope = float(dx @ (b - b.mean())) / float(dx @ dx)
    return Line(slope, float(b.mean() - slope * a.mean()), r2)


def r_squared(x: Array, y: Array) -> Array:
    """Return the squared correlation along the last axis, NaN where x or y is constant."""
    dx, dy = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    product = (dx * dx).sum(axis=-1) * (dy * dy).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(product > 0, (dx * dy).sum(axis=-1) ** 2 / product, np.nan)
