"""Robust accuracy against the radius of the attack, where a store holds evaluations at several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.samples import samples
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.output import canvas
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study.wording import model_names

COLUMNS = ("target", "pretrain", "finetune", "norm", "eps", "ra", "low", "high")
Points = list[tuple[float, crossed.Mean]]


def eps_figure(index: Index) -> Drawing:
    """Draw RA against eps for every model that was attacked at two radii or more, one panel per target.

    Raises
    ------
    EvaluationError : the store has no such model
    """
    lines: dict[tuple[str, str], dict[Cell, Points]] = {}
    used: list[Run] = []
    for (cell, norm), by_eps in _attacked(index).items():
        if len(by_eps) > 1:
            points = [(eps, _accuracy(runs)) for eps, runs in sorted(by_eps.items())]
            lines.setdefault((cell.target, norm), {})[cell] = points
            used += [run for runs in by_eps.values() for run in runs]
    if not lines:
        raise EvaluationError(
            "no model was attacked at two radii or more",
            "rt-eval -m autopgd checkpoint=KEY dataset=D autopgd.eps=0.25,0.5,1.0",
        )

    def draw(axes: list[Any]) -> None:
        for axis, ((target, norm), cells) in zip(axes, lines.items(), strict=True):
            styles = canvas.styles_of([cell.pretrain for cell in cells])
            for name, style, points in zip(model_names(list(cells)), styles, cells.values(), strict=True):
                _line(axis, points, name, style)
            axis.set(xlabel=f"eps ({norm})", ylabel="RA (%)", ylim=(0, 102), title=target)
            canvas.legend(axis)

    rows = tuple(
        (target, cell.pretrain, cell.finetune, norm, eps, *(100 * v for v in (ra.value, ra.low, ra.high)))
        for (target, norm), cells in lines.items()
        for cell, points in cells.items()
        for eps, ra in points
    )
    caption = (
        "Robust accuracy against the radius of the attack, with 95 % intervals; 0 is accuracy without attack."
    )
    return Drawing("figure-eps", caption, (1, len(lines)), draw, COLUMNS, rows, tuple(used))


def _attacked(index: Index) -> dict[tuple[Cell, str], dict[float, list[Run]]]:
    attacked: dict[tuple[Cell, str], dict[float, list[Run]]] = {}
    for run in index.runs:
        threat = run.spec.threat(run.settings)
        if threat is not None and run.summary.split == "test":
            attacked.setdefault((run.cell, threat[0]), {}).setdefault(threat[1], []).append(run)
    return attacked


def _accuracy(runs: Sequence[Run]) -> crossed.Mean:
    return crossed.proportion(samples(runs)["ra"].values)


def _line(axis: Any, points: Points, label: str, style: dict[str, Any]) -> None:
    values = [100 * ra.value for _, ra in points]
    errors = [
        [100 * max(0.0, ra.value - ra.low) for _, ra in points],
        [100 * max(0.0, ra.high - ra.value) for _, ra in points],
    ]
    axis.errorbar(
        [eps for eps, _ in points], values, yerr=errors, capsize=2.5, markersize=4, label=label, **style
    )
