"""How an effect varies over data sets: mixed model, random-effects meta-analysis, meta-regression.

D data sets.

References
----------
Paule and Mandel 1982 (variance between sets); Knapp and Hartung 2003 (intervals of meta-regression).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robust_transfer.core.statistics import LEVEL

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coefficient:
    """An estimate with its 95 % interval and p-value."""

    name: str
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Regression:
    """Effects regressed on covariates of the sets; between: residual standard deviation between sets."""

    coefficients: tuple[Coefficient, ...]
    between: float


def meta_regression(
    effects: Sequence[float], variances: Sequence[float], covariates: Mapping[str, Sequence[float]]
) -> Regression | None:
    """Regress the effects of D sets, with known sampling variances, on covariates of the sets.

    Covariates are centred: the first coefficient, `mean`, is the effect on an average set. None where fewer
    than two sets are left over beside the coefficients.
    """
    y, within = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    columns = [np.asarray(column, dtype=np.float64) for column in covariates.values()]
    design = np.column_stack([np.ones(len(y)), *(column - column.mean() for column in columns)])
    degrees = len(y) - design.shape[1]
    if degrees < 2 or np.linalg.matrix_rank(design) < design.shape[1] or not np.all(within > 0):
        return None
    from statsmodels.api import WLS

    between = _paule_mandel(y, within, design)
    fitted = WLS(y, design, weights=1 / (within + between)).fit()
    bounds = fitted.conf_int(alpha=1 - LEVEL)
    names = ("mean", *covariates)
    numbers = zip(names, fitted.params, bounds, fitted.pvalues, strict=True)
    coefficients = tuple(
        Coefficient(n, float(v), float(b[0]), float(b[1]), float(p)) for n, v, b, p in numbers
    )
    return Regression(coefficients, math.sqrt(between))


def _paule_mandel(y: Array, within: Array, design: Array) -> float:
    """Return the variance between sets at which the weighted residuals are as large as they should be."""
    from scipy.optimize import brentq

    degrees = len(y) - design.shape[1]

    def excess(between: float) -> Any:
        root = 1 / np.sqrt(within + between)
        residual = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        return np.sum(((y - design @ residual) * root) ** 2) - degrees

    if excess(0.0) <= 0:
        return 0.0
    end = float(np.var(y)) + float(within.max())
    while excess(end) > 0:
        end *= 2
    return float(brentq(excess, 0.0, end))


@dataclass(frozen=True)
class Mixed:
    """A mean over sets like these, and standard deviations between sets and between models of a set."""

    mean: Coefficient
    between_sets: float
    within_sets: float


def mixed_model(effects: Mapping[str, Sequence[float]]) -> Mixed | None:
    """Fit effect = mean + set + model of the set, sets and models drawn at random, by REML.

    None for fewer than three sets, or where no set has several models.
    """
    if len(effects) < 3 or not any(np.ptp(np.asarray(of_set)) > 0 for of_set in effects.values()):
        return None
    from scipy.special import stdtr, stdtrit

    centre, error, between, within = _reml(
        [np.asarray(of_set, dtype=np.float64) for of_set in effects.values()]
    )
    degrees = len(effects) - 1
    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * error
    p = float(2 * stdtr(degrees, -abs(centre) / error))
    return Mixed(Coefficient("mean", centre, centre - half, centre + half, p), between, within)


def _reml(sets: Sequence[Array]) -> tuple[float, float, float, float]:
    """Return the mean, its standard error and both standard deviations of a one-way random-effects model.

    The restricted likelihood depends on the ratio of the two variances alone, once the rest is solved for; a
    ratio of 0 is an answer like any other.
    """
    from scipy.optimize import minimize_scalar

    sizes = np.array([len(values) for values in sets], dtype=np.float64)
    means = np.array([values.mean() for values in sets])
    inside = sum(float(((values - values.mean()) ** 2).sum()) for values in sets)
    degrees = float(sizes.sum()) - 1

    def solved(ratio: float) -> tuple[float, float, float, float]:
        weights = sizes / (1 + ratio * sizes)
        centre = float(weights @ means / weights.sum())
        variance = (inside + float(weights @ (means - centre) ** 2)) / degrees
        deviance = degrees * math.log(variance) + float(np.log1p(ratio * sizes).sum() + np.log(weights.sum()))
        return deviance, centre, variance, float(weights.sum())

    best = minimize_scalar(lambda log: solved(math.exp(log))[0], bounds=(-12, 12), method="bounded")
    ratio = min((0.0, math.exp(float(best.x))), key=lambda ratio: solved(ratio)[0])
    _, centre, variance, weight = solved(ratio)
    return centre, math.sqrt(variance / weight), math.sqrt(ratio * variance), math.sqrt(variance)
