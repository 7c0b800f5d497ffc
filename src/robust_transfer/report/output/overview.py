"""A store's tables in one grid: how much pre-training changes each metric, and where that is significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robust_transfer.report.analysis.averages import over_sets
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.study.blocks import Grid
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import change_text, method_text

QUESTION = (
    "Does pre-training, and robust pre-training above all, make a fine-tuned classifier more accurate (SA) "
    "and more robust (RA, ACR)? Each change is against the same fine-tuning without pre-training, on the "
    "same test images and seeds."
)


def overview_grid(tables: Mapping[str, Table]) -> Grid:
    """Return a row for every table and model: the mean change of each metric, and where it is significant."""
    rows = []
    for name, table in tables.items():
        models: dict[tuple[str, str], list[Result]] = {}
        for result in table.ordered:
            models.setdefault((result.cell.finetune, result.cell.pretrain), []).append(result)
        for (finetune, pretrain), results in models.items():
            changes = [_change(results, metric) for metric in TITLES]
            if any(changes):
                model = f"{method_text(pretrain)} → {method_text(finetune)}"
                rows.append((name, model, *(change or "–" for change in changes)))
    title = (
        "Mean change over targets, with its 95 % interval; ▲ a rise is shown, ▼ a fall, of how many targets"
    )
    return Grid(("table", "model", *TITLES.values()), tuple(rows), 2, title)


def _change(results: Sequence[Result], metric: str) -> str:
    compared = [result for result in results if metric in result.differences]
    if not compared:
        return ""
    changes = [result.differences[metric] for result in compared]
    rises = sum(change.low is not None and change.low > 0 for change in changes)
    falls = sum(change.high is not None and change.high < 0 for change in changes)
    mean = over_sets(compared, metric, "differences")
    text = change_text(metric, Estimate(mean.value, mean.low, mean.high))
    if len(changes) == 1:
        return f"{text} {'▲' if rises else '▼' if falls else '·'}"
    return f"{text} {rises}▲ {falls}▼ of {len(changes)}"
