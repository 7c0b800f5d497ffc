"""Accuracy against robust accuracy: how each pre-training moves both, and the Pareto frontier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.output import canvas, labels
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, pairs, results_of
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.wording import method_text, percent

COLUMNS = (
    "finetune",
    "target",
    "pretrain",
    "sa",
    "ra",
    "sa_variance",
    "ra_variance",
    "covariance",
    "on_frontier",
)
SAYS = (
    "On the frontier: no other pre-training of the same target and fine-tuning has both higher SA and "
    "higher RA, by the numbers alone."
)
ELLIPSE = 5.991465  # the 95 % point of chi squared with two degrees of freedom


def answer(question: Question) -> Answer:
    """Place every model of a table by SA and RA."""
    table = question.table("2")
    results = results_of([pair for group in pairs(table).values() for pair in group])
    rows: list[tuple[object, ...]] = []
    for result in results:
        cell, (sa, ra) = result.cell, _place(result)
        rivals = [_place(other) for other in results if other.cell.group == cell.group]
        best = not any(x > sa and y > ra for x, y in rivals)
        spread = _covariance(result)
        parts = (None,) * 3 if spread is None else (spread[0, 0], spread[1, 1], spread[0, 1])
        rows.append((cell.finetune, cell.target, cell.pretrain, 100 * sa, 100 * ra, *parts, int(best)))
    shown = tuple(
        (
            str(r[1]),
            method_text(str(r[2])),
            percent(float(str(r[3])) / 100),
            percent(float(str(r[4])) / 100),
            "yes" if r[8] else "",
        )
        for r in rows
    )
    headers = ("target", "pre-training", "SA", "RA", "on the frontier")
    name = name_of("frontier", table)
    title = f"Accuracy against robust accuracy, table {table.spec.name}"
    blocks = (Grid(headers, shown, 2), Paragraph((SAYS,)))
    return Answer(name, title, blocks, COLUMNS, tuple(rows), results, _drawing(f"figure-{name}", results))


def _place(result: Result) -> tuple[float, float]:
    return result.estimates["sa"].value, result.estimates["ra"].value


def _covariance(result: Result) -> crossed.Array | None:
    """Return the (2, 2) covariance of SA and RA in points, None for published numbers."""
    samples = [result.estimates[metric].sample for metric in ("sa", "ra")]
    if samples[0] is None or samples[1] is None:
        return None
    return 1e4 * crossed.covariance(samples[0].values, samples[1].values)


def _drawing(name: str, results: Sequence[Result]) -> Drawing:
    by_cell = {result.cell: result for result in results}

    def draw(axes: list[Any]) -> None:
        done: set[str] = set()
        for result in sorted(results, key=lambda result: result.cell.pretrain != "none"):
            pretrain = result.cell.pretrain
            style = canvas.style_of(pretrain)
            x, y = (100 * value for value in _place(result))
            label = None if pretrain in done else method_text(pretrain)
            done.add(pretrain)
            axes[0].plot([x], [y], style["marker"], color=style["color"], markersize=4, label=label, zorder=3)
            if pretrain != "none":
                start = tuple(100 * value for value in _place(by_cell[result.cell.reference]))
                arrow = {"arrowstyle": "->", "color": style["color"], "linewidth": 0.7, "alpha": 0.7}
                axes[0].annotate("", (x, y), start, arrowprops={**arrow, "shrinkA": 3, "shrinkB": 3})
            if (spread := _covariance(result)) is not None:
                axes[0].plot(*_ellipse(x, y, spread), color=style["color"], linewidth=0.5, alpha=0.6)
        low, high = axes[0].get_xlim()
        axes[0].plot([low, high], [low, high], color="#777777", linewidth=0.6, linestyle=":", zorder=1)
        axes[0].set(xlabel="SA (%)", ylabel="RA (%)", xlim=(low, high))
        canvas.legend(axes[0])

    def label(axes: list[Any]) -> None:
        none = [result for result in results if result.cell.pretrain == "none"]
        labels.place(axes[0], [(*(100 * v for v in _place(r)), r.cell.target, "#444444") for r in none])  # type: ignore[misc]

    caption = (
        "SA and RA of each model, with arrows from no pre-training; ellipses: 95 % regions from runs; "
        "dotted: RA = SA. RA/SA grows along lines through the origin."
    )
    rows = tuple(
        (r.cell.finetune, r.cell.target, r.cell.pretrain, *(100 * v for v in _place(r))) for r in results
    )
    runs = tuple(run for result in results for run in result.runs)
    return Drawing(name, caption, (1, 1), draw, COLUMNS[:5], rows, runs, label=label)


def _ellipse(x: float, y: float, covariance: crossed.Array) -> tuple[crossed.Array, crossed.Array]:
    values, vectors = np.linalg.eigh(covariance)
    angle = np.linspace(0, 2 * np.pi, 60)
    circle = np.sqrt(ELLIPSE * np.maximum(values, 0))[:, None] * np.array([np.cos(angle), np.sin(angle)])
    points = vectors @ circle
    return x + points[0], y + points[1]
