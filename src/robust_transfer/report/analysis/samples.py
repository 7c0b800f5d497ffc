"""Per-image values of a metric on the grid of a cell's runs, and what two such grids have in common.

P pre-trainings, S replicates, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.collect import Run
from robust_transfer.report.index.coordinates import Grid, Replicate
from robust_transfer.report.index.records import per_image

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Values of one metric, averaged over evaluations of the same model.

    values : (P, S, N)
    pretrainings, replicates : seeds of the first two axes
    """

    values: Array
    pretrainings: tuple[int | None, ...]
    replicates: tuple[Replicate, ...]

    def at(self, pretrainings: Sequence[int | None], replicates: Sequence[Replicate]) -> Array:
        """Return the values at some coordinates."""
        rows = [self.pretrainings.index(seed) for seed in pretrainings]
        columns = [self.replicates.index(pair) for pair in replicates]
        return self.values[np.ix_(rows, columns)]


def samples(grid: Grid) -> dict[str, Sample]:
    """Read the records of a grid's runs: {metric: sample}.

    Raises
    ------
    EvaluationError : the runs hold different images
    """
    first = grid.rows[0][0][0]
    images = per_image(first)[0]

    def mean_of(runs: tuple[Run, ...]) -> dict[str, Array]:
        read = [_values(run, images, first) for run in runs]
        return {metric: np.mean([values[metric] for values in read], axis=0) for metric in read[0]}

    means = [[mean_of(runs) for runs in row] for row in grid.rows]
    return {
        metric: Sample(
            np.array([[values[metric] for values in row] for row in means]),
            grid.pretrainings,
            grid.replicates,
        )
        for metric in means[0][0]
    }


def _values(run: Run, images: Array, first: Run) -> dict[str, Array]:
    index, values = per_image(run)
    if not np.array_equal(index, images):
        raise EvaluationError(f"{run.path} has other images than {first.path}", f"rt-report verify {run.key}")
    return values


def paired(first: Sample, second: Sample) -> tuple[Sample, Sample] | None:
    """Return two samples at the coordinates that they share; None where they share none.

    A single pre-training, or none, is compared with every one of the other's.
    """
    replicates = tuple(pair for pair in first.replicates if pair in second.replicates)
    pretrainings = tuple(seed for seed in first.pretrainings if seed in second.pretrainings)
    if not replicates or first.values.shape[2] != second.values.shape[2]:
        return None
    if len(first.pretrainings) == 1 or len(second.pretrainings) == 1:
        ours, theirs = first.pretrainings, second.pretrainings
    elif pretrainings:
        ours = theirs = pretrainings
    else:
        return None
    one, other = first.at(ours, replicates), second.at(theirs, replicates)
    shape = np.broadcast_shapes(one.shape, other.shape)
    longer = max(ours, theirs, key=len)
    return (
        Sample(np.broadcast_to(one, shape), longer, replicates),
        Sample(np.broadcast_to(other, shape), longer, replicates),
    )
