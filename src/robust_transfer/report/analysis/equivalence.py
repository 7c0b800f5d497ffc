"""Tests of equality: two one-sided tests show that a difference is smaller than a margin.

A difference that is not significant is not thereby shown to be 0.

References
----------
Schuirmann 1987 (TOST): the 90 % interval inside the margins is equivalence at 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust_transfer.core import statistics
from robust_transfer.report.analysis import crossed

EQUIVALENT, DIFFERENT, OPEN = "equivalent", "different", "cannot decide"
LEVEL = 0.90
MARGIN = 3.0  # points of SA or RA within which two pre-trainings count as equal, wherever the report says so


@dataclass(frozen=True)
class Equivalence:
    """A difference, its 90 % interval, and what follows from that and the 95 % one.

    smallest : the smallest margin within which equivalence is shown
    """

    difference: float
    low: float
    high: float
    verdict: str

    @property
    def smallest(self) -> float:
        """The smallest margin within which equivalence is shown."""
        return max(abs(self.low), abs(self.high))


def judge(
    difference: float, inner: tuple[float, float], outer: tuple[float, float], margin: float
) -> Equivalence:
    """Judge a difference by its 90 % interval (`inner`) and its 95 % interval (`outer`).

    A difference may be significant and yet inside the margin: then it is equivalent.
    """
    inside = -margin < inner[0] and inner[1] < margin
    apart = outer[0] > 0 or outer[1] < 0
    return Equivalence(difference, *inner, EQUIVALENT if inside else DIFFERENT if apart else OPEN)


def equivalence(differences: Sequence[crossed.Array], margin: float) -> Equivalence:
    """Test whether the mean over data sets of (P, S, N) differences lies within +- margin."""
    inner, outer = (crossed.mean(*differences, level=level) for level in (LEVEL, statistics.LEVEL))
    return judge(inner.value, (inner.low, inner.high), (outer.low, outer.high), margin)
