"""The study's Figures 2 and 3, relative gains of RA and ACR on that of SA, and changes in one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.averages import having
from robust_transfer.report.analysis.conditional import mechanical_r2
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.output import canvas, gain_points, labels
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.output.gain_points import errors_of
from robust_transfer.report.study import notes
from robust_transfer.report.study.claims import sized
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.tables import caption as table_caption
from robust_transfer.report.study.wording import method_text

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
    """Draw figure 2 or 3: one point per target and pre-training, one line per pre-training."""
    groups = _grouped(table)
    asked = [metric for metric in table.cells[0].metrics if metric != "sa"]
    # A panel without points would show nothing but its axes.
    metrics = [m for m in asked if any(having(part, m) for part in groups.values())] or asked
    points = {
        (group, m): gain_points.measured(part, m, table) for group, part in groups.items() for m in metrics
    }
    fits = {place: gain_points.fit_line(part, place[1]) for place, part in points.items()}
    caption = " ".join(
        [
            "Relative gain over no pre-training, one point per target, with 95 % intervals (of published",
            "accuracies those of two independent shares of n images). Lines allow for sampling error in both",
            "gains; slopes have 95 % intervals over targets like these, and a line whose slope may be 0 is",
            "not drawn. Intervals that leave the picture go on.",
            *(f"{gain_points.fit_text(place, fit, table)}." for place, fit in fits.items()),
            *_mechanical(groups, table),
            *(f"{line}." for line in _undefined(table, asked)),
            "" if table.source == "runs" else "Published numbers, rounded as printed.",
            f"{notes.scale(table.ordered)}." if table.spec.small else "",
            *(f"{line}." for line in notes.measured(table.ordered)),
            *_units(table),
            SHARED_IMAGES,
        ]
    )

    def draw(axes: list[Any]) -> None:
        for axis, metric in zip(axes, metrics, strict=True):
            for group in groups:
                gain_points.draw_points(axis, points[group, metric], metric, group[1], fits[group, metric])
            gain_points.keep_to_points(axis, [r for g in groups for r, _ in points[g, metric]], metric)
            _finish(axis, metric)

    def label(axes: list[Any]) -> None:
        for axis, metric in zip(axes, metrics, strict=True):
            labels.place(axis, _names(groups, metric))

    shown = [result for part in groups.values() for result in part]
    rows = [_row(result, metric) for metric in metrics for result in having(shown, metric)]
    drawing = _drawing(table, " ".join(caption.split()), metrics, draw, groups, COLUMNS, rows)
    return replace(drawing, label=label)


def points_figure(table: Table) -> Drawing:
    """Draw what pre-training changes in a table of one data set: one point per track and pre-training."""
    groups = _grouped(table, "differences")
    results = [result for members in groups.values() for result in members]
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
            for (finetune, pretrain), members in groups.items():
                for result in members:
                    if metric in result.differences:
                        name = f"{method_text(pretrain)}, fine-tuned with {method_text(finetune)}"
                        _whiskers(axis, result, metric, name)
            _cross(axis)
            axis.set_xlabel("change in SA (points)")
            axis.set_ylabel(f"change in {TITLES[metric]}{'' if metric == 'acr' else ' (points)'}")
            canvas.legend(axis)

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
    results = [result for members in groups.values() for result in members]
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
        measured = [result for result in table.ordered if metric in result.estimates]
        compared = [result for result in measured if result.cell.reference in table.results]
        without = [
            r.cell for r in compared if r.cell.pretrain != "none" and not {"sa", metric} <= r.gains.keys()
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
    for (_, pretrain), members in groups.items():
        pairs = [
            (sized(result), reference)
            for result in having(members, "ra")
            if (reference := table.reference(result)) is not None
        ]
        if reference_fit := mechanical_r2(pairs, "gains"):
            span = f"{reference_fit.median:.2f} [{reference_fit.low:.2f}, {reference_fit.high:.2f}]"
            lines.append(
                f"Had RA/SA of no target changed with {method_text(pretrain)}, R² of RA would be {span}."
            )
    return lines


def _names(groups: Groups, metric: str) -> list[tuple[float, float, str, str]]:
    return [
        (
            100 * r.gains["sa"].value,
            100 * r.gains[metric].value,
            r.cell.target,
            canvas.style_of(pretrain)["color"],
        )
        for (_, pretrain), members in groups.items()
        for r in having(members, metric)
    ]


def _whiskers(axis: Any, result: Result, metric: str, label: str) -> None:
    style = canvas.style_of(result.cell.pretrain)
    sa, change = result.differences["sa"], result.differences[metric]
    axis.errorbar(
        [100 * sa.value],
        [_scale(metric) * change.value],
        xerr=errors_of(sa),
        yerr=errors_of(change, _scale(metric)),
        color=style["color"],
        marker=style["marker"],
        linewidth=1,
        capsize=3,
        markersize=5,
        label=label,
    )


def _cross(axis: Any) -> None:
    axis.axhline(0, color="#777777", linewidth=0.8)
    axis.axvline(0, color="#777777", linewidth=0.8)


def _finish(axis: Any, metric: str) -> None:
    _cross(axis)
    axis.set_xlabel("relative gain in SA (%)")
    axis.set_ylabel(f"relative gain in {TITLES[metric]} (%)")
    canvas.legend(axis)
