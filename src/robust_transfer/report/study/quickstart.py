"""The miniature of the study's Tables 2 and 3: digits from MNIST, none against pre-trained, two tracks."""

from __future__ import annotations

from collections.abc import Sequence

from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study.blocks import Block, Grid, Paragraph
from robust_transfer.report.study.spec import Arrangement, Presentation, TableSpec
from robust_transfer.report.study.wording import change_text, interval_text, metric_text, range_text

TRACKS = {"at": "AT track: robustness against an attack", "cr": "CR track: certified robustness"}
CONCLUDE = (
    "What 8x8 digits show: that the whole pipeline runs, and the direction of the effect at this small "
    "training budget; much of that effect is faster convergence. What they do not show: the size of the "
    "effect on natural images, or what is left of it after training to convergence."
)


def sections(results: Sequence[Result]) -> list[Block]:
    """Return the table's parts, at most 80 columns wide."""
    parts: list[Block] = []
    for track, title in TRACKS.items():
        of_track = [result for result in results if result.cell.finetune == track]
        if of_track:
            whole = grid(of_track)
            parts.append(Grid(whole.headers[1:], tuple(row[1:] for row in whole.rows), 2, title))
    return [*parts, Paragraph((caption(results),))] if parts else [Paragraph(("No run yet.",))]


def grid(results: Sequence[Result]) -> Grid:
    """Return one row for each track, pre-training and metric."""
    rows = []
    for result in results:
        for metric, estimate in result.estimates.items():
            unit = "" if metric == "acr" else " %"
            interval = interval_text(metric, estimate.low, estimate.high)
            name = f"{TITLES[metric]}{unit}"
            label = (result.cell.finetune.upper(), result.cell.pretrain, name)
            rows.append(
                (*label, _mean(metric, estimate), interval, _change(metric, result.differences.get(metric)))
            )
    headers = ("track", "pretrain", "metric", "mean", "95 % interval", "against none [95 %]")
    return Grid(headers, tuple(rows), 3)


def _mean(metric: str, estimate: Estimate) -> str:
    spread = "" if estimate.deviation is None else f" ± {metric_text(metric, estimate.deviation)}"
    return metric_text(metric, estimate.value) + spread


def _change(metric: str, change: Estimate | None) -> str:
    return "" if change is None else change_text(metric, change)


def caption(results: Sequence[Result]) -> str:
    """State the numbers of images and seeds, the largest possible radius, and what may be concluded."""
    lines = []
    for track in TRACKS:
        of_track = [result for result in results if result.cell.finetune == track]
        if of_track:
            images = sorted({result.num_images or 0 for result in of_track})
            seeds = sorted({result.seeds for result in of_track})
            lines.append(
                f"{track.upper()}: {range_text(images)} test images, seeds per row: {range_text(seeds)}."
            )
    radius = largest_radius(results)
    if radius:
        lines.append(radius)
    lines.append(CONCLUDE)
    return " ".join(lines)


def largest_possible_radius(run: Run) -> float | None:
    """Return a certificate's largest radius, when all n noise samples agree; None without noise."""
    from robust_transfer.core.binomial import lower_bound
    from robust_transfer.smoothing.bounds import certified_radius

    s = run.settings
    if not run.spec.noise_sigma(s):
        return None
    return certified_radius(lower_bound(s["n"], s["n"], s["alpha"]), s["sigma"])


def largest_radius(results: Sequence[Result]) -> str:
    """Say the largest possible radius of every way in which the results were certified."""
    sentences: dict[str, None] = {}
    for run in (run for result in results for run in result.runs):
        radius, s = largest_possible_radius(run), run.settings
        if radius is not None:
            samples = f"n = {s['n']:,} noise samples, alpha = {s['alpha']:g} and sigma = {s['sigma']:g}"
            sentences[f"With {samples} the largest possible radius is {radius:.2f}."] = None
    return " ".join(sentences)


def _cells(index: Index | None) -> list[Cell]:
    """Return the digits cells of both tracks: `none`, and every pre-training of the preset's runs."""
    tracks = {("at", "autopgd", None): {"none"}, ("cr", "certify", None): {"none"}}
    sigma = shots = None
    for run in index.runs if index else ():
        cell = run.cell
        track = (cell.finetune, cell.evaluator, None)
        if run.lineage.experiment == "quickstart" and cell.dataset == "digits" and track in tracks:
            tracks[track].add(cell.pretrain)
            sigma, shots = cell.sigma or sigma, cell.shots
    order = {"none": 0, "at": 1, "cr": 1, "st": 2, "simclr": 3}
    return [
        Cell("digits", pretrain, finetune, evaluator, sigma if evaluator == "certify" else None, shots)
        for (finetune, evaluator, _), pretrains in tracks.items()
        for pretrain in sorted(pretrains, key=lambda name: (order.get(name, 4), name))
    ]


TABLE = TableSpec(
    "quickstart",
    "Quickstart: digits, with and without pre-training on MNIST",
    _cells,
    Requirements(source="mnist5k", experiment="quickstart", threat=None),
    Arrangement(("track", "pretrain"), lambda c: (c.finetune.upper(), c.pretrain), lambda c: ""),
    "rt-train experiment=quickstart",
    figure="points",
    presentation=Presentation(sections, grid, caption),
)
