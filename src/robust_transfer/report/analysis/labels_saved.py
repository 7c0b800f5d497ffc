"""Labels that pre-training saves: how many more the other method needs to reach the same accuracy.

Read off the curve of accuracy against images per class, at equal accuracy: the other method's curve is
interpolated linearly in the logarithm of the number of labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_transfer.core.statistics import LEVEL
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.samples import Sample, combined, paired

POINTS = 61  # amounts at which the other curve is compared


@dataclass(frozen=True)
class Saved:
    """Times as many labels as the other method needs, with 95 % bounds.

    factor : None where the other curve does not reach the accuracy
    low, high : None where the bound lies beyond the amounts that were tried
    """

    factor: float | None
    low: float | None
    high: float | None


def labels_saved(amount: float, ours: Sample, curve: Sequence[tuple[float, Sample]]) -> Saved | None:
    """Compare a model trained on `amount` labels with another method's curve of (amount, sample).

    The interval holds the amounts around the crossing at which the difference is not significant. None
    where models share no seeds or images, or the curve has one point.
    """
    if len(curve) < 2:
        return None
    amounts = np.array([where for where, _ in curve])
    at = np.geomspace(amounts[0], amounts[-1], POINTS)
    gaps, undecided = np.empty(POINTS), np.zeros(POINTS, dtype=bool)
    for i, where in enumerate(at):
        pair = paired(ours, _between(math.log(where), curve))
        if pair is None:
            return None
        values = combined(np.subtract, *pair).values
        gaps[i] = float(values.mean())
        undecided[i] = crossed.p_value(values) >= 1 - LEVEL or not values.any()
    bounds = _bounds(gaps, undecided)
    low, high = (None if i is None else float(at[i]) / amount for i in bounds)
    return Saved(_reached(at, gaps, amount), low, high)


def _between(where: float, curve: Sequence[tuple[float, Sample]]) -> Sample:
    """Return the sample of a curve at exp(where), on the places that its neighbours share."""
    logs = [math.log(amount) for amount, _ in curve]
    right = min(max(int(np.searchsorted(logs, where)), 1), len(logs) - 1)
    weight = (where - logs[right - 1]) / (logs[right] - logs[right - 1])
    one, other = curve[right - 1][1], curve[right][1]
    shared = [place for place in one.at if place in other.at]
    return combined(lambda a, b: (1 - weight) * a + weight * b, one.kept(shared), other.kept(shared))


def _reached(at: crossed.Array, gaps: crossed.Array, amount: float) -> float | None:
    """Return where the other curve first reaches the accuracy."""
    if gaps[0] <= 0:
        return float(at[0]) / amount if gaps[0] == 0 else None
    below = np.flatnonzero(gaps <= 0)
    if not below.size:
        return None
    i = int(below[0])
    share = gaps[i - 1] / (gaps[i - 1] - gaps[i])
    return float(at[i - 1] * (at[i] / at[i - 1]) ** share) / amount


def _bounds(gaps: crossed.Array, undecided: crossed.Array) -> tuple[int | None, int | None]:
    """Return the nearest amounts on both sides of the crossing that are ruled out, None for none."""
    crossing = np.flatnonzero(gaps <= 0)
    place = int(crossing[0]) if crossing.size else len(gaps)
    low, high = place - 1, place
    while low >= 0 and undecided[low]:
        low -= 1
    while high < len(gaps) and undecided[high]:
        high += 1
    return (low if low >= 0 else None), (high if high < len(gaps) else None)
