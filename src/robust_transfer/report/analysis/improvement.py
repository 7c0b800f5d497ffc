"""How often one method is better than another: probability of improvement, and performance profiles.

References
----------
Agarwal et al. 2021 (arXiv 2108.13264), sections 4.2 and 4.3: both, with intervals from redrawing the runs of
each task. Here runs are redrawn within each data set, pre-trainings where there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robust_transfer.core import rng, statistics

Array = npt.NDArray[np.float64]
DRAWS = 1000


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; None where one model per set leaves nothing to redraw."""

    value: float
    low: float | None
    high: float | None


def probability_of_improvement(ours: Sequence[Array], theirs: Sequence[Array]) -> Share:
    """Return the mean over sets of the probability that a model of ours beats one of theirs.

    Parameters
    ----------
    ours, theirs : for each data set the values of its models, (R,) and (Q,); ties count half
    """

    def better(one: Array, other: Array) -> float:
        gap = one[:, None] - other[None, :]
        return float(np.mean(np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))))

    def mean(first: Sequence[Array], second: Sequence[Array]) -> float:
        return float(np.mean([better(a, b) for a, b in zip(first, second, strict=True)]))

    value = mean(ours, theirs)
    if all(len(a) == len(b) == 1 for a, b in zip(ours, theirs, strict=True)):
        return Share(value, None, None)
    generator = rng.numpy_generator("improvement", len(ours))
    drawn = [mean(_redrawn(generator, ours), _redrawn(generator, theirs)) for _ in range(DRAWS)]
    return Share(value, *statistics.percentiles(drawn))


def _redrawn(generator: np.random.Generator, sets: Sequence[Array]) -> list[Array]:
    return [values[generator.integers(0, len(values), len(values))] for values in sets]


def profile(sets: Sequence[Array], at: Array) -> Array:
    """Return the mean over sets of the share of models whose value is above each of `at`, (K,)."""
    shares: Array = np.mean([(values[:, None] > at[None, :]).mean(axis=0) for values in sets], axis=0)
    return shares
