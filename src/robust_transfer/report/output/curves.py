"""Certified accuracy against radius, for one or several models.

N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.statistics import proportion_interval
from robust_transfer.report.index.collect import Run
from robust_transfer.report.index.records import read_columns
from robust_transfer.report.output import canvas
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study.quickstart import largest_possible_radius
from robust_transfer.report.study.wording import model_text

Array = npt.NDArray[np.float64]
COLUMNS = ("stage", "radius", "certified_accuracy", "low", "high")


def certified_accuracy(
    correct: npt.ArrayLike, radius: npt.ArrayLike, at: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Count the images that are right and certified at each radius of `at`.

    Parameters
    ----------
    correct, radius : (N,) per image
    at : (P,) radii

    Returns
    -------
    (P,) number of images with correct and radius >= at
    """
    certified = np.sort(np.asarray(radius, dtype=np.float64)[np.asarray(correct, dtype=bool)])
    return certified.size - np.searchsorted(certified, np.asarray(at, dtype=np.float64), side="left")


def curve_figure(runs: Sequence[Run]) -> Drawing:
    """Draw the certified-accuracy curves of certifications, with pointwise 95 % intervals.

    Raises
    ------
    EvaluationError : a run is not a certification, or its radii only answer yes or no
    """
    for run in runs:
        _check(run)
    tables = [read_columns(run.path / "records.csv", ("correct", "radius")) for run in runs]
    furthest = max(float(found["radius"].max()) for found in tables)
    end = 1.05 * furthest if furthest > 0 else 1.0
    # Between two radii that occur nothing changes: these points draw every step where it is.
    at = np.unique(np.concatenate([[0.0, end], *(found["radius"] for found in tables)]))
    curves = [_curve(found, at) for found in tables]
    labels = [_label(run, runs) for run in runs]

    def draw(axes: list[Any]) -> None:
        for position, (label, curve) in enumerate(zip(labels, curves, strict=True)):
            color = canvas.COLORS[position % len(canvas.COLORS)]
            axes[0].step(at, curve[0], where="pre", color=color, label=label, linewidth=1.4)
            axes[0].fill_between(at, curve[1], curve[2], step="pre", color=color, alpha=0.15, linewidth=0)
        for limit in sorted({_limit(run) for run in runs} - {0.0}):
            axes[0].axvline(limit, color="#777777", linestyle=":", linewidth=1)
        axes[0].set(xlabel="L2 radius", ylabel="certified accuracy (%)", ylim=(0, 102), xlim=(0, at[-1]))
        axes[0].legend(loc="upper right", fontsize=7.5)

    caption = " ".join(
        [
            "Share of test images that are classified right with a certified radius of at least x;",
            "shaded: pointwise 95 % Clopper-Pearson intervals over images;",
            "dotted: the largest radius that n and alpha allow.",
            *(
                f"Data: {run.cell.target}, {run.num_images} images. {run.settings_line}."
                for run in _distinct(runs)
            ),
        ]
    )
    rows = tuple(
        (run.key, *(float(v) for v in point))
        for run, curve in zip(runs, curves, strict=True)
        for point in zip(at, *curve, strict=True)
    )
    name = "curve-" + "-".join(run.key for run in runs)
    return Drawing(name, caption, (1, 1), draw, COLUMNS, rows, tuple(runs))


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


def _curve(found: dict[str, Array], at: Array) -> tuple[Array, Array, Array]:
    """Return certified accuracy, low and high at each radius, in percent."""
    n = found["radius"].size
    counts = certified_accuracy(found["correct"], found["radius"], at)
    bounds = {count: proportion_interval(count, n)[:2] for count in {int(c) for c in counts}}
    low, high = np.array([bounds[int(count)] for count in counts]).T
    return 100 * counts / n, 100 * low, 100 * high


def _limit(run: Run) -> float:
    return largest_possible_radius(run) or 0.0


def _label(run: Run, runs: Sequence[Run]) -> str:
    several = len({r.cell.target for r in runs}) > 1
    name = f"{run.cell.target}: {model_text(run.lineage)}" if several else model_text(run.lineage)
    acr = run.metrics.get("acr")
    return f"{name}, seed {run.lineage.seed}" + ("" if acr is None else f" (ACR {acr:.3f})")


def _distinct(runs: Sequence[Run]) -> list[Run]:
    return list({(run.cell.target, run.num_images, run.settings_line): run for run in runs}.values())
