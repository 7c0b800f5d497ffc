"""The same stages run twice: how far another machine, or another version, moves a number.

Stages of one key have the same recipe and seeds. In exact arithmetic they would agree; in floating point
training amplifies rounding, so that a rerun is another sample of the same recipe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.statistics import LEVEL
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.records import per_image

Pair = tuple[Run, Run]


@dataclass(frozen=True)
class Rerun:
    """How a metric differs between two runs of the same evaluations, in the metric's own unit.

    mean : of the differences, here minus there
    deviation : the reproduction standard deviation, of one run; low, high : its 95 % interval
    seeds : standard deviation over the replicates of a cell, None where no cell has several
    images : share of images whose values differ
    """

    metric: str
    evaluations: int
    equal: int
    mean: float
    largest: float
    deviation: float
    low: float
    high: float
    seeds: float | None
    images: float


def shared(first: Index, second: Index) -> list[Pair]:
    """Return the evaluations of one key that both stores hold.

    Raises
    ------
    EvaluationError : they share none
    """
    other = {run.key: run for run in second.runs}
    pairs = [(run, other[run.key]) for run in first.runs if run.key in other]
    if not pairs:
        raise EvaluationError(
            f"{first.root} and {second.root} share no finished evaluation (expected stages of the same keys)",
            "run the same command with store=DIR on the other machine",
        )
    return pairs


def reruns(pairs: Sequence[Pair]) -> list[Rerun]:
    """Return what reruns change in each metric."""
    metrics = []
    for metric in TITLES:
        measured = [pair for pair in pairs if all(run.metrics.get(metric) is not None for run in pair)]
        if measured:
            metrics.append(_rerun(metric, measured))
    return metrics


def change(pair: Pair, metric: str) -> float:
    """Return here minus there."""
    one, other = (run.metrics[metric] for run in pair)
    assert one is not None and other is not None
    return one - other


def _rerun(metric: str, pairs: Sequence[Pair]) -> Rerun:
    from scipy.special import chdtri

    changes = np.array([change(pair, metric) for pair in pairs])
    count, squares = len(changes), float(changes @ changes)
    tail = (1 - LEVEL) / 2
    low, high = (math.sqrt(squares / 2 / float(chdtri(count, p))) for p in (tail, 1 - tail))
    differing = [per_image(one)[1][metric] != per_image(other)[1][metric] for one, other in pairs]
    return Rerun(
        metric,
        count,
        int((changes == 0).sum()),
        float(changes.mean()),
        float(np.abs(changes).max()),
        math.sqrt(squares / 2 / count),
        low,
        high,
        _over_seeds(metric, [run for run, _ in pairs]),
        float(np.mean([values.mean() for values in differing])),
    )


def _over_seeds(metric: str, runs: Sequence[Run]) -> float | None:
    """Return the deviation over the runs of one cell, pooled over cells."""
    cells: dict[object, list[float]] = {}
    for run in runs:
        cells.setdefault((run.cell, run.settings_line), []).append(run.metrics[metric] or 0.0)
    several = [values for values in cells.values() if len(values) > 1]
    if not several:
        return None
    squares = sum(float(np.var(values)) * len(values) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))
