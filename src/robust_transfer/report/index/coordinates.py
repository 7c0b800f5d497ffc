"""A run's coordinates among its replicates, and the grid that the runs of one cell make.

A run has four coordinates: pre-training, label draw, fine-tuning and evaluation. Evaluations of one model are
averaged; pre-trainings are what a statement about a pre-training method is replicated over; label draw and
fine-tuning together are one replicate of what comes after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from robust_transfer.report.index.collect import Run

Replicate = tuple[int | None, int | None]  # seeds of the label draw and of fine-tuning
Place = tuple[int | None, Replicate]  # seed of the pre-training, None without one, and what follows it
OWN: Replicate = (None, None)  # each pre-training has replicates of its own


@dataclass(frozen=True)
class Grid:
    """Places on a full grid.

    rows : rows[p][s] are the places of pre-training p and replicate s: one, or under `OWN` all of p
    """

    pretrainings: tuple[int | None, ...]
    replicates: tuple[Replicate, ...]
    rows: tuple[tuple[tuple[Place, ...], ...], ...]

    def __contains__(self, place: Place) -> bool:
        return any(place in places for row in self.rows for places in row)


def place_of(run: Run) -> Place:
    """Return a run's place on the grid."""
    return run.lineage.pretrain_seed, (run.lineage.split_seed, run.lineage.seed)


def grid_of(places: Iterable[Place]) -> Grid:
    """Arrange places by the replicates that all pre-trainings share, or else by each one's own.

    Where they share any, replicates that not every pre-training has are left out.
    """
    replicates: dict[int | None, set[Replicate]] = {}
    for pretraining, replicate in places:
        replicates.setdefault(pretraining, set()).add(replicate)
    pretrainings = tuple(sorted(replicates, key=_order))
    shared = sorted(set.intersection(*replicates.values()), key=_pair_order)
    if shared:
        rows = tuple(tuple(((p, s),) for s in shared) for p in pretrainings)
        return Grid(pretrainings, tuple(shared), rows)
    own = tuple((tuple((p, s) for s in sorted(replicates[p], key=_pair_order)),) for p in pretrainings)
    return Grid(pretrainings, (OWN,), own)


def _order(seed: int | None) -> int:
    return -1 if seed is None else seed


def _pair_order(pair: Replicate) -> tuple[int, int]:
    return _order(pair[0]), _order(pair[1])
