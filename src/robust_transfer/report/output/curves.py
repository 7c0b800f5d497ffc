"""Certified accuracy against radius, and the probability of the top class, for one or several models.

Runs of one cell are replicates and make one curve. Bands hold for a whole curve at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.bands import Band, band
from robust_transfer.report.analysis.crossed import Array
from robust_transfer.report.analysis.samples import Sample, combined, paired
from robust_transfer.report.index.collect import Run
from robust_transfer.report.index.coordinates import Place, place_of
from robust_transfer.report.index.records import check_images, per_image, read_columns
from robust_transfer.report.output import canvas
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study.quickstart import largest_possible_radius
from robust_transfer.report.study.wording import method_text, model_names, units_text

COLUMNS = ("stages_of_curve", "minus", "at", "share", "low", "high")
MAX_POINTS = 120


@dataclass(frozen=True)
class Quantity:
    """What is on the horizontal axis: a column of the records, and which images count as incorrect."""

    stem: str
    axis: str
    caption: str
    columns: tuple[str, ...]


RADIUS = Quantity(
    "curve",
    "L2 radius",
    "Share of test images that are classified correctly with a certified radius of at least x; vertical: "
    "the largest radius that n and alpha allow.",
    ("correct", "radius"),
)
TOP_CLASS = Quantity(
    "top-class",
    "lower bound of the true class's probability under noise",
    "Share of test images for which the true class is the guess and its probability under noise is shown to "
    "be at least x: what ACR averages after a transformation that weighs the right end most.",
    ("guess", "label", "p_lower"),
)
QUANTITIES = {quantity.stem: quantity for quantity in (RADIUS, TOP_CLASS)}


@dataclass(frozen=True)
class _Curve:
    """The score of every image at each place, which is compared with x."""

    runs: tuple[Run, ...]
    images: Array
    scores: dict[Place, list[Array]]

    def at(self, x: float) -> Sample:
        """Return, for each image, whether its score is at least x."""
        return Sample(
            {place: np.mean([score >= x for score in runs], axis=0) for place, runs in self.scores.items()}
        )


def curve_figure(runs: Sequence[Run], quantity: Quantity = RADIUS) -> Drawing:
    """Draw the curves of certifications, and their differences on the same images and seeds.

    Differences are to the models without pre-training, or else to the first.

    Raises
    ------
    EvaluationError : a run is not a certification, or its radii only answer yes or no
    """
    for run in runs:
        _check(run)
    curves = [_read(group, quantity) for group in _grouped(runs)]
    at = _points([score for curve in curves for values in curve.scores.values() for score in values])
    bands = [band([curve.at(x).values for x in at]) for curve in curves]
    first = next((curve for curve in curves if curve.runs[0].cell.pretrain == "none"), curves[0])
    others = (curve for curve in curves if curve is not first)
    changes = [(curve, values) for curve in others if (values := _change(first, curve, at)) is not None]

    names = model_names([curve.runs[0].cell for curve in curves])
    styles = canvas.styles_of([curve.runs[0].cell.pretrain for curve in curves])

    def draw(axes: list[Any]) -> None:
        for name, style, values in zip(names, styles, bands, strict=True):
            _step(axes[0], at, values, style, name)
        for limit in sorted({largest_possible_radius(run) or 0.0 for run in runs} - {0.0}):
            if quantity is RADIUS:
                axes[0].axvline(limit, color="#aaaaaa", linewidth=0.8, zorder=1)
        axes[0].set(xlabel=quantity.axis, ylabel="share of images (%)", ylim=(0, 102), xlim=(at[0], at[-1]))
        canvas.legend(axes[0])
        for curve, values in changes:
            place = curves.index(curve)
            _step(axes[1], at, values, styles[place], names[place])
        if changes:
            axes[1].axhline(0, color="#777777", linewidth=0.8)
            minus = f"minus {names[curves.index(first)]} (points)"
            axes[1].set(xlabel=quantity.axis, ylabel=minus, xlim=(at[0], at[-1]))

    rows = [(curve, "", values) for curve, values in zip(curves, bands, strict=True)]
    rows += [(curve, " ".join(run.key for run in first.runs), values) for curve, values in changes]
    return Drawing(
        f"{quantity.stem}-" + "-".join(run.key for run in runs),
        " ".join([quantity.caption, *_caption(curves, names, bands, bool(changes))]),
        (1, 2 if changes else 1),
        draw,
        COLUMNS,
        tuple(row for curve, minus, values in rows for row in _rows(curve, minus, at, values)),
        tuple(runs),
    )


def _check(run: Run) -> None:
    if "acr" not in run.spec.metrics:
        raise EvaluationError(
            f"{run.key} is {run.evaluator} (expected certificates)", "rt-report runs lists what there is"
        )
    if "acr" not in run.spec.measured(run.settings):
        raise EvaluationError(
            f"{run.key} is certified in mode decide, whose radii only answer yes or no (expected exact)",
            f"{run.evaluator}.mode=exact",
        )


def _grouped(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Return the replicates of each curve: the same cell, measured alike."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.cell, run.settings_line, run.num_images), []).append(run)
    return [tuple(group) for group in groups.values()]


def _read(runs: tuple[Run, ...], quantity: Quantity) -> _Curve:
    scores: dict[Place, list[Array]] = {}
    for run in runs:
        check_images(runs[0], run)
        columns = read_columns(run.path / "records.csv", quantity.columns)
        counts = columns["correct"] > 0 if quantity is RADIUS else columns["guess"] == columns["label"]
        scores.setdefault(place_of(run), []).append(np.where(counts, columns[quantity.columns[-1]], -1.0))
    return _Curve(runs, per_image(runs[0])[0], scores)


def _points(scores: Sequence[Array]) -> Array:
    """Return where curves are drawn: every step, or evenly spaced among them where they are many."""
    values = np.unique(np.concatenate([[0.0], *(score[score >= 0] for score in scores)]))
    if len(values) > MAX_POINTS:
        values = values[np.linspace(0, len(values) - 1, MAX_POINTS).round().astype(int)]
    return np.append(values, 1.05 * values[-1] if values[-1] > 0 else 1.0)


def _change(first: _Curve, curve: _Curve, at: Array) -> Band | None:
    """Return a curve minus the first, None where they share no images or seeds."""
    if not np.array_equal(first.images, curve.images):
        return None
    pairs = [paired(curve.at(x), first.at(x)) for x in at]
    if any(pair is None for pair in pairs):
        return None
    return band([combined(np.subtract, *pair).values for pair in pairs if pair is not None], differences=True)


def _step(axis: Any, at: Array, band: Band, style: dict[str, Any], label: str) -> None:
    line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.4}
    axis.step(at, 100 * band.value, where="pre", label=label, **line)
    axis.fill_between(
        at, 100 * band.low, 100 * band.high, step="pre", color=style["color"], alpha=0.15, linewidth=0
    )


def _caption(
    curves: Sequence[_Curve], names: Sequence[str], bands: Sequence[Band], changes: bool
) -> list[str]:
    lines = ["Shaded: simultaneous 95 % bands, each of which covers its whole curve."]
    lines += ["Right: differences on the same images and seeds, with such bands."] if changes else []
    for name, curve, bounds in zip(names, curves, bands, strict=True):
        grid = curve.at(0.0).grid
        networks = 0 if curve.runs[0].cell.pretrain == "none" else len(grid.pretrainings)
        run = curve.runs[0]
        units = units_text(networks, len(grid.replicates))
        measured = [r.metrics["acr"] for r in curve.runs if r.metrics.get("acr") is not None]
        acr = f", ACR {np.mean([v for v in measured if v is not None]):.3f}" if measured else ""
        scope = "" if bounds.replicated else ", band for these models"
        place = f"{run.cell.target}, fine-tuned with {method_text(run.cell.finetune)}"
        lines.append(f"{name}: {place}, {run.num_images} images, {units}{acr}{scope}.")
    lines += [f"{line}." for line in dict.fromkeys(curve.runs[0].settings_line for curve in curves)]
    return lines


def _rows(curve: _Curve, minus: str, at: Array, band: Band) -> list[tuple[object, ...]]:
    keys = " ".join(run.key for run in curve.runs)
    values = zip(at, 100 * band.value, 100 * band.low, 100 * band.high, strict=True)
    return [(keys, minus, *(float(v) for v in point)) for point in values]
