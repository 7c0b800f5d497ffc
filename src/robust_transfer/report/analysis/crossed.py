"""The mean of values over images and replicates, with intervals and tests that keep their level.

P pre-trainings, S replicates of what comes after them (label draw, fine-tuning), N images; the values of a
data set are (P, S, N). Each of the three is a sample of what there could have been, so the mean's variance
has a part from each. Mean squares of the crossed random effects estimate it, with Satterthwaite's degrees of
freedom.

Where all that is replicated is replicated twice, one degree of freedom may see by chance no spread at all:
there the variance is drawn from what its sums of squares leave open, and p-values are means over these draws
(a generalized pivot). With one replicate of a kind, the statement is conditional on that one.

References
----------
Satterthwaite 1946. Burdick, Borror and Montgomery 2005, chapter 2 (crossed random effects, generalized
intervals). Korn and Graubard 1998 (proportions). Fieller 1954 (ratios).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from robust_transfer.core import rng
from robust_transfer.core.statistics import LEVEL, proportion_interval

Array = npt.NDArray[np.float64]
Axes = tuple[int, ...]
DRAWS = 4000
PRE, REP, IMAGE = 0, 1, 2  # axes


@dataclass(frozen=True)
class Mean:
    """A mean, its interval, and the p-value of its being 0: below 0.05 just where the interval excludes 0."""

    value: float
    low: float
    high: float
    p: float
    method: str


@dataclass(frozen=True)
class _Squares:
    """Parts of the variance of a mean: for each set of axes, (mean square / size, degrees of freedom)."""

    parts: Mapping[Axes, Sequence[tuple[float, int]]]

    def variance(self, part: Callable[[Axes], Any]) -> Any:
        """Combine parts, each zero for what does not vary, into the variance of the mean."""
        runs = part((PRE,)) + part((REP,)) - part((PRE, REP))
        # The interaction of replicates and images is in the mean squares of both.
        common = part((PRE, IMAGE)) + part((REP, IMAGE)) - part((PRE, REP, IMAGE))
        return np.maximum(runs - common, 0) + part((IMAGE,))

    def tail(self, value: float) -> float:
        """Return the two-sided p-value of a mean."""
        from scipy.special import ndtr, stdtr

        variance = self._estimate
        if value == 0 or variance <= 0:
            return float(value == 0)
        if self._draws is not None:
            return float(np.mean(2 * ndtr(-abs(value) / self._draws)))
        return float(2 * stdtr(self._degrees, -abs(value) / math.sqrt(variance)))

    # A width is the root of a function of `tail`: what does not depend on the value is computed once.
    @cached_property
    def _estimate(self) -> float:
        return float(self.variance(self.estimated))

    @cached_property
    def _degrees(self) -> float:
        spread = sum(square**2 / n for parts in self.parts.values() for square, n in parts)
        return max(1.0, self._estimate**2 / spread)

    @cached_property
    def _draws(self) -> Array | None:
        """Draws of the standard deviation where two replicates are all there are, else None."""
        if [n for axes in ((PRE,), (REP,)) for _, n in self.parts.get(axes, ())] != [1]:
            return None
        drawn: Array = np.maximum(self.variance(self._drawn), np.finfo(float).tiny)
        return np.sqrt(drawn)

    def estimated(self, axes: Axes) -> float:
        """Return the mean squares of a set of axes, summed over data sets."""
        return sum(square for square, _ in self.parts.get(axes, ()))

    def _drawn(self, axes: Axes) -> Array:
        drawn = (n * square / _chi_square(n, axes) for square, n in self.parts.get(axes, ()))
        return sum(drawn, np.zeros(DRAWS))

    def half_width(self, level: float) -> float:
        """Return the largest value whose p-value is not below 1 - level."""
        if not self.tail(1e-9) > 0:
            return 0.0
        end = 1.0
        while self.tail(end) > 1 - level:
            end *= 4
        return _crossing(lambda h: self.tail(h) - (1 - level), 0.0, end)


@cache
def _chi_square(degrees: int, axes: Axes) -> Array:
    drawn: Array = rng.numpy_generator(f"pivot/{axes}", degrees).chisquare(degrees, DRAWS)
    return drawn


def _effects(values: Array) -> dict[Axes, Array]:
    """Return the effect of each set of axes that have more than one value."""
    varying = [axis for axis in range(3) if values.shape[axis] > 1]
    effects = {}
    for count in range(1, len(varying) + 1):
        for axes in itertools.combinations(varying, count):
            effect = values
            for axis in range(3):
                mean = effect.mean(axis=axis, keepdims=True)
                effect = effect - mean if axis in axes else mean
            effects[axes] = effect
    return effects


def _products(one: Mapping[Axes, Array], other: Mapping[Axes, Array]) -> dict[Axes, tuple[float, int]]:
    """Return (mean product / size, degrees of freedom) of two arrays' effects; of one: its mean squares."""
    products = {}
    for axes, effect in one.items():
        degrees = int(np.prod([effect.shape[axis] - 1 for axis in axes]))
        # An effect that is constant along an axis counts once for each value there; so does the size.
        products[axes] = (float(np.sum(effect * other[axes])) / degrees / effect.size, degrees)
    return products


def _squares(sets: Sequence[Array]) -> _Squares:
    """Return the squares behind a mean over sets, whose images are independent and whose runs are shared."""
    share = 1 / len(sets)
    table = sum((share * values.mean(axis=IMAGE, keepdims=True) for values in sets), np.zeros((1, 1, 1)))
    own = _effects(table)
    parts: dict[Axes, list[tuple[float, int]]] = {
        axes: [product] for axes, product in _products(own, own).items()
    }
    for values in sets:
        effects = {axes: effect for axes, effect in _effects(values).items() if IMAGE in axes}
        for axes, (square, degrees) in _products(effects, effects).items():
            parts.setdefault(axes, []).append((share**2 * square, degrees))
    return _Squares(parts)


def _crossing(function: Callable[[float], float], start: float, end: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, start, end, xtol=1e-10, rtol=1e-8))


def method_of(values: Array) -> str:
    """Name what an interval varies."""
    names = ("pre-trainings", "replicates", "images")
    varied = (name for name, size in zip(names, values.shape, strict=True) if size > 1)
    return "crossed random effects: " + " x ".join(varied)


def mean(*sets: Array, level: float = LEVEL) -> Mean:
    """Return the mean over data sets of the means of (P, S, N) values, such as differences of two models.

    Data sets are weighted alike, share P and S, and are fixed: the interval is for these sets. Where all
    values are equal, the interval is that of 0 of N images (exact binomial) times the largest value.
    """
    value = float(np.mean([values.mean() for values in sets]))
    squares = _squares(sets)
    half = squares.half_width(level)
    if half > 0:
        return Mean(value, value - half, value + half, squares.tail(value), method_of(sets[0]))
    images = sum(values.shape[IMAGE] for values in sets)
    largest = max(float(np.abs(values).max()) for values in sets) or 1.0
    half = largest * proportion_interval(0, images, level=level)[1]
    return Mean(value, value - half, value + half, float(abs(value) <= half), "Clopper-Pearson, all equal")


def p_value(values: Array) -> float:
    """Return the p-value of the mean of (P, S, N) values being 0."""
    return _squares([values]).tail(float(values.mean()))


def covariance(*samples: Array) -> Array:
    """Return the (k, k) covariance of the means of k samples (P, S, N) of the same models and images.

    Variances are those of `mean`; covariances follow from those of sums and differences.
    """

    def variance(values: Array) -> float:
        squares = _squares([values])
        return float(squares.variance(squares.estimated))

    covariances = np.empty((len(samples), len(samples)))
    for i, one in enumerate(samples):
        for j, other in enumerate(samples):
            covariances[i, j] = (variance(one + other) - variance(one - other)) / 4
    return covariances


def proportion(values: Array, *, level: float = LEVEL) -> Mean:
    """Return the mean of (P, S, N) values in [0, 1] with an interval inside [0, 1].

    One model: exactly. Several: exactly for the number of images whose binomial interval would be as wide as
    the interval of the mean (Korn and Graubard); none or all correct counts as N images.
    """
    from scipy.special import betaincinv, ndtri

    n, value = values.shape[IMAGE], float(values.mean())
    if values.size == n and np.isin(values, (0.0, 1.0)).all():
        low, high, method = proportion_interval(int(values.sum()), n, level=level)
        return Mean(value, low, high, float(value == 0), method)
    plain = mean(values, level=level)
    spread, tail = value * (1 - value), (1 - level) / 2
    size = float(n)
    if spread > 0:
        size = min(values.size, spread * (float(ndtri(1 - tail)) / (value - plain.low)) ** 2)
    right = size * value
    low = float(betaincinv(right, size - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, size - right, 1 - tail)) if right < size else 1.0
    return Mean(value, low, high, plain.p, f"Korn-Graubard, {method_of(values)}")


def ratio(values: Array, reference: Array, *, level: float = LEVEL) -> Mean | None:
    """Return mean(values) / mean(reference) - 1: the ratios r for which values - r reference may have mean 0.

    Its interval excludes 0 just where that of the difference does, as both invert one test (Fieller). None
    where the reference itself is not significantly above 0: a relative gain is undefined then.
    """
    if not mean(reference, level=level).low > 0:
        return None
    one, other = _effects(values), _effects(np.broadcast_to(reference, values.shape))
    products = (_products(one, one), _products(one, other), _products(other, other))
    a, b = float(values.mean()), float(reference.mean())

    def p_of(r: float) -> float:
        parts = {}
        for axes, (own, degrees) in products[0].items():
            square = own - 2 * r * products[1][axes][0] + r * r * products[2][axes][0]
            parts[axes] = [(max(0.0, square), degrees)]
        return _Squares(parts).tail(a - r * b)

    low, high = (_end(lambda r: p_of(r) - (1 - level), a / b, sign) for sign in (-1, 1))
    return Mean(a / b - 1, low - 1, high - 1, p_of(1.0), f"Fieller, {method_of(values)}")


def _end(function: Callable[[float], float], best: float, sign: int) -> float:
    """Return where `function`, positive at `best`, becomes negative on one side; infinite if nowhere."""
    inner, step = best, 0.05
    while function(inner + sign * step) > 0:
        inner, step = inner + sign * step, 2 * step
        if step > 1e4:
            return sign * float("inf")
    return _crossing(function, inner, inner + sign * step)
