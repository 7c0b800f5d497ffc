"""Where a run stands among its replicates, and the grid that the runs of one cell make.

A run has four coordinates: pre-training, label draw, fine-tuning and evaluation. Evaluations of one model are
averaged; pre-trainings are what a statement about a pre-training method is replicated over; label draw and
fine-tuning together are one replicate of what comes after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust_transfer.report.index.collect import Run

Replicate = tuple[int | None, int | None]  # seeds of the label draw and of fine-tuning
OWN: Replicate = (None, None)  # each pre-training has replicates of its own


@dataclass(frozen=True)
class Grid:
    """Runs on a full grid.

    rows : rows[p][s] are the evaluations of pre-training p and replicate s; under `OWN`, all of p
    left_out : runs whose replicate not every pre-training has
    """

    pretrainings: tuple[int | None, ...]
    replicates: tuple[Replicate, ...]
    rows: tuple[tuple[tuple[Run, ...], ...], ...]
    left_out: tuple[Run, ...] = ()


def replicate_of(run: Run) -> Replicate:
    """Return what follows pre-training."""
    return run.lineage.split_seed, run.lineage.seed


def grid_of(runs: Sequence[Run]) -> Grid:
    """Arrange the runs of a cell by the replicates that all pre-trainings share, or by each one's own."""
    placed: dict[int | None, dict[Replicate, list[Run]]] = {}
    for run in runs:
        placed.setdefault(run.lineage.pretrain_seed, {}).setdefault(replicate_of(run), []).append(run)
    pretrainings = tuple(sorted(placed, key=_order))
    shared = set.intersection(*(set(found) for found in placed.values()))
    if not shared:
        own = [tuple(run for evaluations in placed[p].values() for run in evaluations) for p in pretrainings]
        return Grid(pretrainings, (OWN,), tuple((runs_of_one,) for runs_of_one in own))
    replicates = tuple(sorted(shared, key=lambda pair: tuple(map(_order, pair))))
    rows = tuple(tuple(tuple(placed[p][s]) for s in replicates) for p in pretrainings)
    left_out = tuple(run for run in runs if replicate_of(run) not in shared)
    return Grid(pretrainings, replicates, rows, left_out)


def _order(seed: int | None) -> int:
    return -1 if seed is None else seed
