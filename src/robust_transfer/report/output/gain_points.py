"""Points of relative gains, with errors in both coordinates, and the line through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robust_transfer.core import statistics
from robust_transfer.report.analysis.averages import having
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.analysis.gain_errors import gain_covariance
from robust_transfer.report.analysis.lines import ErrorsLine, errors_line
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.output import canvas
from robust_transfer.report.study.claims import sized
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import method_text

LEAST_ROOM = 20  # points of relative gain
Measured = list[tuple[Result, Any]]  # a target, and the covariance of its gains in SA and another metric


def measured(results: Sequence[Result], metric: str, table: Table) -> Measured:
    """Return the targets with gains in SA and `metric`."""
    places = [(result, table.reference(result)) for result in having(results, metric)]
    return [
        (result, gain_covariance(sized(result), sized(reference), metric))
        for result, reference in places
        if reference is not None
    ]


def fit_line(points: Measured, metric: str) -> ErrorsLine | None:
    """Fit a line; where no error is known, it is that of least squares."""
    x, y = ([result.gains[m].value for result, _ in points] for m in ("sa", metric))
    return errors_line(x, y, [np.zeros((2, 2)) if error is None else error for _, error in points])


def fit_text(place: tuple[tuple[str, str], str], fit: ErrorsLine | None, table: Table) -> str:
    """Describe a line, or say why there is none."""
    (finetune, pretrain), metric = place
    points = having(
        [r for r in table.ordered if (r.cell.finetune, r.cell.pretrain) == (finetune, pretrain)], metric
    )
    name = f"{method_text(pretrain)}, {TITLES[metric]}"
    r2 = statistics.fit_line(*([r.gains[m].value for r in points] for m in ("sa", metric))).r2
    of_points = f", R² of the points {r2:.2f}" if math.isfinite(r2) else ""
    if fit is None:
        return f"{name}: no line ({len(points)} targets, or SA gains that sampling error explains){of_points}"
    return f"{name}: slope {fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]{of_points}"


def draw_points(axis: Any, points: Measured, metric: str, pretrain: str, fit: ErrorsLine | None) -> None:
    """Draw the points of one pre-training with their errors, and its line where the slope is not 0."""
    style = canvas.style_of(pretrain)
    x, y = ([100 * result.gains[m].value for result, _ in points] for m in ("sa", metric))
    label = method_text(pretrain)
    if fit is not None:
        label += f": slope {fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
        if fit.tells:
            ends = np.array([min(x), max(x)])
            axis.plot(
                ends,
                100 * fit.intercept + fit.slope * ends,
                style["linestyle"],
                color=style["color"],
                linewidth=1,
            )
    axis.scatter(x, y, s=16, color=style["color"], marker=style["marker"], label=label, zorder=3)
    for result, covariance in points:
        errors = [
            errors_of(result.gains[m]) or _published_errors(covariance, i)
            for i, m in enumerate(("sa", metric))
        ]
        place = [100 * result.gains[m].value for m in ("sa", metric)]
        axis.errorbar(*place, xerr=errors[0], yerr=errors[1], color=style["color"], linewidth=0.5, alpha=0.5)


def keep_to_points(axis: Any, results: Sequence[Result], metric: str) -> None:
    """Cut the view where long intervals would leave no room for the points: at their range beside them."""
    for name, limits, cut in (
        ("sa", axis.get_xlim(), axis.set_xlim),
        (metric, axis.get_ylim(), axis.set_ylim),
    ):
        places = [100 * result.gains[name].value for result in results]
        if places:
            room = max(max(places) - min(places), LEAST_ROOM)
            cut(max(limits[0], min(places) - room), min(limits[1], max(places) + room))


def _published_errors(covariance: Any, position: int) -> float | None:
    return None if covariance is None else 100 * statistics.Z95 * math.sqrt(covariance[position, position])


def errors_of(number: Estimate, scale: int = 100) -> list[list[float]] | None:
    """Return the error bars of an estimate, None without an interval."""
    if number.low is None or number.high is None or not math.isfinite(number.high - number.low):
        return None
    return [[scale * max(0.0, number.value - number.low)], [scale * max(0.0, number.high - number.value)]]
