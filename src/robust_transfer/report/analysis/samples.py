"""Per-image values of a metric at the places of a cell's runs, and the places that two cells share.

P pre-trainings, S replicates, N images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robust_transfer.report.index.collect import Run
from robust_transfer.report.index.coordinates import Grid, Place, grid_of, place_of
from robust_transfer.report.index.records import check_images, per_image

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Values of one metric, averaged over evaluations of the same model.

    at : (N,) values at each place
    """

    at: Mapping[Place, Array]

    @cached_property
    def grid(self) -> Grid:
        """The full grid that the places make."""
        return grid_of(self.at)

    @cached_property
    def values(self) -> Array:
        """Values on the grid, (P, S, N)."""
        return np.array(
            [
                [np.mean([self.at[place] for place in places], axis=0) for places in row]
                for row in self.grid.rows
            ]
        )

    def kept(self, places: Iterable[Place]) -> Sample:
        """Return the sample at some of its places."""
        return Sample({place: self.at[place] for place in places})


def samples(runs: Sequence[Run]) -> dict[str, Sample]:
    """Read the records of runs: {metric: sample}.

    Raises
    ------
    EvaluationError : the runs hold different images
    """
    read: dict[str, dict[Place, list[Array]]] = {}
    for run in runs:
        check_images(runs[0], run)
        for metric, values in per_image(run)[1].items():
            read.setdefault(metric, {}).setdefault(place_of(run), []).append(values)
    return {
        metric: Sample({place: np.mean(values, axis=0) for place, values in places.items()})
        for metric, places in read.items()
    }


def combined(function: Callable[..., Array], *aligned: Sample) -> Sample:
    """Return what a function of (N,) arrays makes of samples with the same places."""
    return Sample({place: function(*(sample.at[place] for sample in aligned)) for place in aligned[0].at})


def paired(first: Sample, second: Sample) -> tuple[Sample, Sample] | None:
    """Return two samples at the places that they share; None where they share none.

    A network without pre-training has no pre-training seed: it, or a single pre-training, is compared with
    every one of the other's, on the replicates that both have.
    """
    ours, theirs = {}, {}
    one = any(len({p for p, _ in sample.at}) == 1 for sample in (first, second))
    longer = first if len(first.grid.pretrainings) >= len(second.grid.pretrainings) else second
    for p, s in longer.at:
        places = [_counterpart(sample, p, s, one) for sample in (first, second)]
        if places[0] is not None and places[1] is not None:
            ours[p, s], theirs[p, s] = first.at[places[0]], second.at[places[1]]
    if not ours or next(iter(ours.values())).shape != next(iter(theirs.values())).shape:
        return None
    return Sample(ours), Sample(theirs)


def _counterpart(
    sample: Sample, pretraining: int | None, replicate: tuple[int | None, int | None], one: bool
) -> Place | None:
    if one and len(pretrainings := {p for p, _ in sample.at}) == 1:
        pretraining = next(iter(pretrainings))
    place = (pretraining, replicate)
    return place if place in sample.at else None
