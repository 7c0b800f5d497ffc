"""RA and SA against the number of labels: where pre-training helps, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import Result, from_runs
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.protocols import Requirements, choose
from robust_transfer.report.output import canvas
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study import notes
from robust_transfer.report.study.wording import method_text, percent

AXES = {"shots": "training images per class", "train_fraction": "share of the training set"}
COLUMNS = ("dataset", "finetune", "pretrain", "axis", "amount", "metric", "value", "low", "high", "seeds")
ASIDE = 0.05  # of a natural logarithm, the most that a point is moved
Lines = dict[str, list[tuple[float, Result]]]  # pretrain -> (amount, result), by amount


def shots_figure(index: Index) -> Drawing:
    """Draw SA and RA against shots or train_fraction, one row of panels per data set and track.

    Raises
    ------
    EvaluationError : no data set was learnt from two numbers of labels
    """
    rows = curves_of(index)
    if not rows:
        raise EvaluationError(
            "no data set has runs at two values of dataset.shots or dataset.train_fraction",
            "rt-train -m pretrain=none,simclr finetune=at dataset=pets dataset.shots=2,5,10,20",
        )
    results = [r for lines in rows.values() for points in lines.values() for _, r in points]
    data = [
        (cell.dataset, cell.finetune, pretrain, axis, amount, m, e.value, e.low, e.high, result.seeds)
        for (cell, axis), lines in rows.items()
        for pretrain, points in lines.items()
        for amount, result in points
        for m, e in result.estimates.items()
    ]

    def draw(axes: list[Any]) -> None:
        for position, ((cell, axis), lines) in enumerate(rows.items()):
            for column, metric in enumerate(("sa", "ra")):
                _panel(axes[2 * position + column], cell, axis, lines, metric)

    caption = " ".join(
        [
            "Accuracy against the number of labels, with 95 % intervals.",
            notes.varying(results),
            *(f"{line}." for line in notes.measured(results)),
        ]
    )
    runs = tuple(run for result in results for run in result.runs)
    tags = tuple({tag for result in results for tag in result.tags})
    return Drawing("figure-shots", caption, (len(rows), 2), draw, COLUMNS, tuple(data), runs, tags)


def curves_of(index: Index) -> dict[tuple[Cell, str], Lines]:
    """Return the curves of every data set and fine-tuning, over shots and over shares of the training set."""
    panels = {place: lines for axis in AXES for place, lines in _lines(index, axis).items()}
    return {place: lines for place, lines in panels.items() if len(_amounts(lines)) > 1}


def _amounts(lines: Lines) -> list[float]:
    return sorted({amount for points in lines.values() for amount, _ in points})


def _lines(index: Index, axis: str) -> dict[tuple[Cell, str], Lines]:
    amounts = sorted({amount for run in index.runs if (amount := getattr(run.lineage, axis)) is not None})
    panels: dict[tuple[Cell, str], Lines] = {}
    for amount in amounts:
        runs: Sequence[Run] = [run for run in index.runs if getattr(run.lineage, axis) == amount]
        part = replace(index, runs=tuple(runs))
        share = amount if axis == "train_fraction" else None
        choice = choose(part, part.by_cell, Requirements(None, "", threat=None, train_fraction=share))
        for cell, result in from_runs(part, choice).items():
            if "ra" in result.estimates:
                lines = panels.setdefault((replace(cell.group, shots=None), axis), {})
                lines.setdefault(cell.pretrain, []).append((float(amount), result))
    return panels


def _panel(panel: Any, cell: Cell, axis: str, lines: Lines, metric: str) -> None:
    # Side by side: error bars at one number of labels do not cover each other.
    aside = np.linspace(-ASIDE, ASIDE, len(lines)) if len(lines) > 1 else [0.0]
    ordered = sorted(lines.items(), key=lambda i: (i[0] != "none", i[0]))
    for (pretrain, points), shift in zip(ordered, aside, strict=True):
        estimates = [(amount, result.estimates[metric]) for amount, result in points]
        values = [100 * e.value for _, e in estimates]
        low = [max(0.0, 100 * (e.value - (e.value if e.low is None else e.low))) for _, e in estimates]
        high = [max(0.0, 100 * ((e.value if e.high is None else e.high) - e.value)) for _, e in estimates]
        panel.errorbar(
            [np.log(amount) + shift for amount, _ in estimates],
            values,
            yerr=[low, high],
            markersize=4,
            linewidth=1.2,
            capsize=2.5,
            label=method_text(pretrain),
            **canvas.style_of(pretrain),
        )
    amounts = _amounts(lines)
    names = [f"{a:g}" if axis == "shots" else f"{percent(a)} %" for a in amounts]
    panel.set_xticks(np.log(amounts), names)
    panel.set(
        xlabel=AXES[axis],
        ylabel=f"{TITLES[metric]} (%)",
        title=f"{cell.dataset}, fine-tuned with {method_text(cell.finetune)}",
    )
    canvas.legend(panel)
