"""A line through points that are uncertain in both coordinates.

Least squares takes x as exact, and sampling error in x pulls its slope towards 0. Here the known sampling
covariances of the points are subtracted from their moments.

D points.

References
----------
Fuller 1987, Measurement Error Models, sections 2.2 and 3.1 (moments, known error covariance, error in the
equation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robust_transfer.core.statistics import LEVEL

Array = npt.NDArray[np.float64]
FEWEST = 4  # points for a line with an interval


@dataclass(frozen=True)
class ErrorsLine:
    """A line with a 95 % interval of its slope over points like these."""

    slope: float
    intercept: float
    low: float
    high: float

    @property
    def tells(self) -> bool:
        """Whether the slope is significant: else no line should be drawn."""
        return self.low > 0 or self.high < 0


def errors_line(x: Sequence[float], y: Sequence[float], covariances: Sequence[Array]) -> ErrorsLine | None:
    """Fit y = intercept + slope x to D points with known sampling covariances (2, 2).

    The interval is the jackknife's over points. None with fewer than four points, or where x varies no more
    than sampling error explains.
    """
    points = np.column_stack([x, y]).astype(np.float64)
    errors = np.asarray(covariances, dtype=np.float64).reshape(-1, 2, 2)
    if len(points) < FEWEST or (slope := _slope(points, errors)) is None:
        return None
    count = len(points)
    slopes = [_slope(np.delete(points, i, 0), np.delete(errors, i, 0)) for i in range(count)]
    jackknife = np.array([math.nan if other is None else other for other in slopes])
    if not np.isfinite(jackknife).all():
        return None
    from scipy.special import stdtrit

    error = math.sqrt((count - 1) / count * float(np.sum((jackknife - jackknife.mean()) ** 2)))
    half = float(stdtrit(count - 2, (1 + LEVEL) / 2)) * error
    centre = points.mean(axis=0)
    return ErrorsLine(slope, float(centre[1] - slope * centre[0]), slope - half, slope + half)


def _slope(points: Array, errors: Array) -> float | None:
    moments = np.cov(points.T) - errors.mean(axis=0)
    # Where less than a tenth of the variance of x is left, a slope is a ratio to nearly nothing.
    if moments[0, 0] <= 0.1 * float(np.var(points[:, 0], ddof=1)):
        return None
    return float(moments[0, 1] / moments[0, 0])
