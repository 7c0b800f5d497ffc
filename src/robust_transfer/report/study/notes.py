"""The notes under a table: how it was measured, tags and warnings, what is missing or left out, origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from robust_transfer.data import catalogue
from robust_transfer.data.entries import MEAN_PER_CLASS
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Run, commits
from robust_transfer.report.index.environments import environments
from robust_transfer.report.study.blocks import Block, Bullets, Code, Paragraph
from robust_transfer.report.study.spec import TableSpec
from robust_transfer.report.study.wording import change_text, percent, range_text

SYMBOLS = "*†‡§¶"
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
MAX_LEFT_OUT = 6
ACR_CAUTION = "ACR can rise on images that are easy already (arXiv 2410.06895): read it beside RA"
ACR_SPLIT = "`rt-report analysis radii` splits its changes by difficulty"


def measured(results: Iterable[Result]) -> list[str]:
    """Return one line for each way in which results were measured, with the targets where ways differ."""
    ways: dict[tuple[str, float | None], dict[str, dict[str, None]]] = {}
    for result in results:
        for run in result.runs:
            kind = (run.evaluator, result.cell.sigma)
            ways.setdefault(kind, {}).setdefault(run.settings_line, {})[result.cell.target] = None
    return [
        f"{line} ({', '.join(sets)})" if len(lines) > 1 else line
        for lines in ways.values()
        for line, sets in lines.items()
    ]


def images(results: Sequence[Result]) -> list[str]:
    """Say how many test images there are."""
    counts = [result.num_images for result in results if result.num_images]
    return [f"Test images per cell: {range_text(counts)}."] if counts else []


def varying(results: Sequence[Result]) -> str:
    """Say what the ± of a table varies, and over how many independent units."""
    measured = [result for result in results if result.runs]
    varies = sorted({name for result in measured for name in result.varies})
    seeds = range_text([result.seeds for result in measured])
    networks = [result.pretrainings for result in measured if result.pretrainings]
    pretrainings = f"; independent pre-trainings per cell: {range_text(networks)}" if networks else ""
    if not varies:
        return f"One model per cell: the intervals are over test images alone{pretrainings}."
    return (
        f"± is the standard deviation over models; seeds per cell: {seeds} (varied: {', '.join(varies)})"
        f"{pretrainings}. Intervals are 95 %, over test images and what was varied.{few_seeds(measured)}"
    )


def few_seeds(results: Sequence[Result]) -> str:
    """Return the caveat where replicates are few."""
    networks = [result.pretrainings for result in results if result.pretrainings]
    seeds = [result.seeds for result in results if result.runs]
    says = ""
    if networks and min(networks) == 1:
        says += " With one pre-training, what is said holds for this pre-trained network, not for its method."
    if seeds and 1 < min(seeds) < 5:
        says += " With few seeds, intervals are wide, and small effects are not seen."
    return says


def scale(results: Iterable[Result]) -> str:
    """Say how large images and networks are and where pre-training took place."""
    lineages = [run.lineage for result in results for run in result.runs]

    def values(name: str) -> str:
        distinct = {getattr(lineage, name) for lineage in lineages} - {None, ""}
        return ", ".join(str(value) for value in sorted(distinct))

    source = f", pre-training on {values('source')}" if values("source") else ""
    sizes = f"{values('image_size')}-pixel images, {values('arch')} with {values('width')} channels{source}"
    return sizes if lineages else ""


def caution(results: Iterable[Result]) -> list[str]:
    """Return the caveat about ACR where a result has one."""
    shown = any("acr" in result.estimates for result in results)
    return [ACR_CAUTION] if shown else []


def symbols(results: Iterable[Result]) -> dict[str, str]:
    """Give each tag and warning that occurs a symbol, the same to those that differ in numbers alone."""
    notices = sorted({notice for result in results for notice in result.notices})
    return {
        notice: SYMBOLS[i] if i < len(SYMBOLS) else f"({i})"
        for i, kind in enumerate(_kinds(notices))
        for notice in kind
    }


def noticed(results: Sequence[Result]) -> list[str]:
    """Return each kind of tag and warning after its symbol, with the targets where not all have it."""
    kinds: dict[str, list[str]] = {}
    for notice, symbol in symbols(results).items():
        kinds.setdefault(symbol, []).append(notice)
    lines = []
    for symbol, notices in kinds.items():
        targets = list(dict.fromkeys(r.cell.target for r in results if not {*notices}.isdisjoint(r.notices)))
        everywhere = len(targets) == len({r.cell.target for r in results})
        lines.append(f"{symbol} {_ranged(notices)}" + ("" if everywhere else f" ({', '.join(targets)})"))
    return lines


def merged(notices: Iterable[str]) -> list[str]:
    """Return tags and warnings, those that differ in numbers alone as one."""
    return [_ranged(kind) for kind in _kinds(notices)]


def _kinds(notices: Iterable[str]) -> list[list[str]]:
    """Group notices that differ in numbers alone."""
    kinds: dict[str, list[str]] = {}
    for notice in notices:
        kinds.setdefault(NUMBER.sub("#", notice), []).append(notice)
    return list(kinds.values())


def _ranged(notices: Sequence[str]) -> str:
    """Write notices of one kind as one, with the range of every number that differs."""
    numbers = iter(zip(*(NUMBER.findall(notice) for notice in notices), strict=True))

    def written(_: re.Match[str]) -> str:
        values = sorted({*next(numbers)}, key=lambda value: float(value.replace(",", "")))
        return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    return NUMBER.sub(written, notices[0])


def falls(results: Iterable[Result]) -> list[str]:
    """Return one line for each pre-training and metric under which some set falls, with its interval."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        for metric, change in result.differences.items():
            if change.value < 0:
                place = (result.cell.finetune, result.cell.pretrain, metric)
                lines.setdefault(place, []).append(f"{result.cell.target} {change_text(metric, change)}")
    return [
        f"{TITLES[metric]} is lower with pre-training {pretrain}, fine-tuning {finetune}: {', '.join(texts)}"
        for (finetune, pretrain, metric), texts in lines.items()
    ]


def mean_per_class(results: Iterable[Result]) -> list[str]:
    """Return the accuracies averaged over classes, on the sets where Kornblith et al. 2019 report those.

    The study reports top-1 accuracy on every set; a line gives the mean over a cell's seeds.
    """
    lines = []
    for result in results:
        dataset = result.cell.dataset
        if dataset not in catalogue.names() or catalogue.get(dataset).metric != MEAN_PER_CLASS:
            continue
        averages = []
        for metric in ("sa", "ra"):
            values = [run.metrics.get(f"{metric}_per_class") for run in result.runs]
            per_run = [value for value in values if value is not None]
            if per_run:
                averages.append(f"{TITLES[metric]} {percent(sum(per_run) / len(per_run))}")
        if averages:
            methods = f"{result.cell.pretrain} -> {result.cell.finetune}"
            lines.append(f"mean per class, {result.cell.target}, {methods}: {', '.join(averages)}")
    return lines


def missing(spec: TableSpec, cells: Sequence[Cell], results: Mapping[Cell, Result]) -> list[Block]:
    """Say how many cells are missing and what to run for them."""
    absent = [cell for cell in cells if cell not in results]
    if not absent:
        return []
    says = f"{len(absent)} of {len(cells)} cells are missing. To fill them:"
    return [Paragraph((says,)), Code(tuple(spec.commands(absent)))]


def left_out(runs: Sequence[tuple[Run, str]]) -> list[Block]:
    """List the runs of the table's cells that are left out, each with the reason."""
    lines = [f"{run.key}: {reason}" for run, reason in runs[:MAX_LEFT_OUT]]
    if len(runs) > MAX_LEFT_OUT:
        lines.append(f"and {len(runs) - MAX_LEFT_OUT} more")
    return [Paragraph((f"Left out ({len(runs)}):",)), Bullets(tuple(lines))] if runs else []


def provenance(results: Iterable[Result]) -> tuple[str, ...]:
    """Name the commit and the stage keys that a file came from."""
    runs = {run.key: run for result in results for run in result.runs}
    return origin(runs.values()) if runs else ()


def origin(runs: Iterable[Run]) -> tuple[str, ...]:
    """Name the commit, the versions and hardware, and the stage keys of runs."""
    keys = {run.key: run for run in runs}
    made_with = environments(keys.values())
    several = "different versions or hardware: " if len(made_with) > 1 else ""
    return (
        f"commit: {', '.join(commits(keys.values())) or 'none'}",
        f"made with: {several}{'; '.join(made_with) or 'none'}",
        f"stages: {' '.join(keys) or 'none'}",
    )
