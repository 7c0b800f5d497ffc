"""The study's Figures 2 and 3, relative gains of RA and ACR on that of SA, and changes in one data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.averages import GainFit, fit_gains, having
from robust_transfer.report.analysis.conditional import mechanical_r2
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.output import canvas, labels
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study import notes
from robust_transfer.report.study.claims import images_published
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.tables import caption as table_caption

Groups = dict[tuple[str, str], list[Result]]
PLACE = ("dataset", "shots", "pretrain", "finetune", "metric")
COLUMNS = (*PLACE, "sa_gain", "sa_low", "sa_high", "gain", "low", "high")
CHANGE_COLUMNS = (*PLACE, "sa_change", "sa_low", "sa_high", "change", "low", "high")
SHARED_IMAGES = (
    "SA and RA are measured on the same test images, and an image counts for RA only if it counts for SA: "
    "part of R² is mechanical."
)


def figure(table: Table) -> Drawing:
    """Draw the figure that belongs to a table."""
    return points_figure(table) if table.spec.figure == "points" else gains_figure(table)


def gains_figure(table: Table) -> Drawing:
    """Draw figure 2 or 3: one point a target and pre-training, one line a pre-training."""
    groups = _grouped(table)
    metrics = [metric for metric in table.cells[0].metrics if metric != "sa"]
    fits = {(group, m): fit_gains(having(found, m), m) for group, found in groups.items() for m in metrics}
    few = [f"{p}: {len(found)} data sets, no fit" for (_, p), found in groups.items() if len(found) < 3]
    caption = " ".join(
        [
            "Relative gain over no pre-training, one point a target, with 95 % intervals from runs;",
            "lines are least-squares fits, slopes with 95 % intervals over targets like these.",
            *_mechanical(groups, table),
            *(f"{line}." for line in (*few, *_undefined(table, metrics))),
            "" if table.source == "runs" else "Published numbers, rounded as printed.",
            f"{notes.scale(table.ordered)}." if table.spec.small else "",
            *(f"{line}." for line in notes.measured(table.ordered)),
            *_units(table),
            SHARED_IMAGES,
        ]
    )

    def draw(axes: list[Any]) -> None:
        for axis, metric in zip(axes, metrics, strict=True):
            for position, (group, found) in enumerate(groups.items()):
                _points(axis, found, metric, group[1], position, fits[group, metric])
            _finish(axis, metric, loc="lower left", bbox_to_anchor=(0, 1.0))  # no point is there

    def label(axes: list[Any]) -> None:
        for axis, metric in zip(axes, metrics, strict=True):
            labels.place(axis, _names(groups, metric))

    shown = [result for found in groups.values() for result in found]
    rows = [_row(result, metric) for metric in metrics for result in having(shown, metric)]
    drawing = _drawing(table, " ".join(caption.split()), metrics, draw, groups, COLUMNS, rows)
    return replace(drawing, label=label)


def points_figure(table: Table) -> Drawing:
    """Draw what pre-training changes in a table of one data set: one point a track and pre-training."""
    groups = _grouped(table, "differences")
    results = [result for found in groups.values() for result in found]
    metrics = [metric for metric in ("ra", "acr") if any(metric in result.differences for result in results)]
    caption = " ".join(
        [
            "Change against no pre-training, with 95 % intervals.",
            "SA and RA are measured on the same test images.",
            table_caption(table),
            *_units(table),
        ]
    )

    def draw(axes: list[Any]) -> None:
        for axis, metric in zip(axes, metrics, strict=True):
            for position, ((finetune, pretrain), found) in enumerate(groups.items()):
                for result in found:
                    if metric in result.differences:
                        name = f"{pretrain.upper()}, fine-tuned with {finetune.upper()}"
                        _whiskers(axis, result, metric, name, position)
            _cross(axis)
            axis.set_xlabel("change in SA (points)")
            axis.set_ylabel(f"change in {TITLES[metric]}{'' if metric == 'acr' else ' (points)'}")
            axis.legend(fontsize=7.5, loc="best")

    rows = [_change_row(r, metric) for metric in metrics for r in results if metric in r.differences]
    return _drawing(table, caption, metrics, draw, groups, CHANGE_COLUMNS, rows)


def _drawing(
    table: Table,
    caption: str,
    metrics: Sequence[str],
    draw: Any,
    groups: Groups,
    columns: tuple[str, ...],
    rows: Sequence[tuple[object, ...]],
) -> Drawing:
    results = [result for found in groups.values() for result in found]
    runs = tuple(run for result in table.results.values() for run in result.runs)
    tags = tuple({tag for result in results for tag in result.tags})
    name = f"figure-{table.spec.name}" + ("-published" if table.source == "published" else "")
    return Drawing(name, caption, (1, len(metrics)), draw, columns, tuple(rows), runs, tags)


def _grouped(table: Table, compared: str = "gains") -> Groups:
    groups: Groups = {}
    for result in table.ordered:
        if getattr(result, compared):
            groups.setdefault((result.cell.finetune, result.cell.pretrain), []).append(result)
    if not groups:
        absent = [cell for cell in table.cells if cell not in table.results]
        raise EvaluationError(
            "no data set has runs both with and without pre-training (expected at least one)",
            *(f"run: {command}" for command in table.spec.commands(absent or table.cells)[:2]),
        )
    return groups


def _units(table: Table) -> list[str]:
    """Say how many images and units there are."""
    results = table.ordered
    if table.source != "runs":
        return []
    return [*notes.images(results), notes.varying(results)]


def _undefined(table: Table, metrics: Sequence[str]) -> list[str]:
    """Name the targets without a point: what is 0 without pre-training has no relative gain."""
    lines = []
    for metric in metrics:
        known = [result for result in table.ordered if result.cell.reference in table.results]
        without = [
            r.cell for r in known if r.cell.pretrain != "none" and not {"sa", metric} <= r.gains.keys()
        ]
        if without:
            names = ", ".join(f"{cell.target} ({cell.pretrain})" for cell in without)
            why = "as it is not distinct from 0 without pre-training"
            lines.append(f"No {TITLES[metric]} gain, {why}: {names}")
    return lines


def _row(result: Result, metric: str) -> tuple[object, ...]:
    sa, gain = result.gains["sa"], result.gains[metric]
    numbers = (sa.value, sa.low, sa.high, gain.value, gain.low, gain.high)
    cell = result.cell
    place = (cell.dataset, cell.shots, cell.pretrain, cell.finetune, metric)
    return (*place, *(None if v is None else 100 * v for v in numbers))


def _change_row(result: Result, metric: str) -> tuple[object, ...]:
    sa, change = result.differences["sa"], result.differences[metric]
    numbers = [(v, 100) for v in (sa.value, sa.low, sa.high)]
    numbers += [(v, _scale(metric)) for v in (change.value, change.low, change.high)]
    cell = result.cell
    place = (cell.dataset, cell.shots, cell.pretrain, cell.finetune, metric)
    return (*place, *(None if v is None else scale * v for v, scale in numbers))


def _scale(metric: str) -> int:
    """Return what brings a difference to the figure's unit: points, or the radius as it is."""
    return 1 if metric == "acr" else 100


def _mechanical(groups: Groups, table: Table) -> list[str]:
    """Say what R squared would be had RA/SA of no target changed."""
    lines = []
    for (_, pretrain), found in groups.items():
        pairs = [
            (r if r.num_images else replace(r, num_images=images_published(r.cell)), reference)
            for r in having(found, "ra")
            if (reference := table.reference(r)) is not None
        ]
        if drawn := mechanical_r2(pairs, "gains"):
            span = f"{drawn.median:.2f} [{drawn.low:.2f}, {drawn.high:.2f}]"
            lines.append(f"Had RA/SA of no target changed with {pretrain}, R² of RA would be {span}.")
    return lines


def _points(
    axis: Any, found: Sequence[Result], metric: str, pretrain: str, position: int, fit: GainFit
) -> None:
    color = canvas.COLORS[position % len(canvas.COLORS)]
    shown = having(found, metric)
    x = [100 * result.gains["sa"].value for result in shown]
    y = [100 * result.gains[metric].value for result in shown]
    label = pretrain
    if math.isfinite(fit.line.r2):
        label += f": R² = {fit.line.r2:.2f}, slope {fit.line.slope:.2f}"
        label += f" [{fit.slope_low:.2f}, {fit.slope_high:.2f}]"
        ends = [min(x), max(x)]
        axis.plot(
            ends, [100 * fit.line.intercept + fit.line.slope * e for e in ends], color=color, linewidth=1
        )
    marker = canvas.MARKERS[position % len(canvas.MARKERS)]
    axis.scatter(x, y, s=18, color=color, marker=marker, label=label, zorder=3)
    for result in shown:
        gains = (result.gains["sa"], result.gains[metric])
        errors = [_errors(gain) for gain in gains]
        if all(error is not None for error in errors):
            place = [100 * gain.value for gain in gains]
            axis.errorbar(*place, xerr=errors[0], yerr=errors[1], color=color, linewidth=0.5, alpha=0.5)


def _names(groups: Groups, metric: str) -> list[tuple[float, float, str, str]]:
    return [
        (100 * r.gains["sa"].value, 100 * r.gains[metric].value, r.cell.target, color)
        for color, found in zip(canvas.COLORS, groups.values(), strict=False)
        for r in having(found, metric)
    ]


def _whiskers(axis: Any, result: Result, metric: str, label: str, position: int) -> None:
    sa, change = result.differences["sa"], result.differences[metric]
    axis.errorbar(
        [100 * sa.value],
        [_scale(metric) * change.value],
        xerr=_errors(sa),
        yerr=_errors(change, _scale(metric)),
        color=canvas.COLORS[position % len(canvas.COLORS)],
        marker=canvas.MARKERS[position % len(canvas.MARKERS)],
        linewidth=1,
        capsize=3,
        markersize=5,
        label=label,
    )


def _errors(found: Estimate, scale: int = 100) -> list[list[float]] | None:
    if found.low is None or found.high is None or not math.isfinite(found.high - found.low):
        return None
    return [[scale * max(0.0, found.value - found.low)], [scale * max(0.0, found.high - found.value)]]


def _cross(axis: Any) -> None:
    axis.axhline(0, color="#777777", linewidth=0.8)
    axis.axvline(0, color="#777777", linewidth=0.8)


def _finish(axis: Any, metric: str, **legend: Any) -> None:
    _cross(axis)
    axis.set_xlabel("relative gain in SA (%)")
    axis.set_ylabel(f"relative gain in {TITLES[metric]} (%)")
    axis.legend(fontsize=7.5, **legend)
