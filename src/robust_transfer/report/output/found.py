"""What a store's tables say in one grid: where pre-training raises a metric, where it lowers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robust_transfer.report.analysis.averages import over_sets
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.study.blocks import Grid
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import change_text, method_text

ASKED = (
    "Does pre-training, and robust pre-training above all, make a fine-tuned classifier more accurate (SA) "
    "and more robust (RA, ACR)? Each change is against the same fine-tuning without pre-training, on the "
    "same test images and seeds."
)


def found_grid(found: Mapping[str, Table]) -> Grid:
    """Count, for every table and model, the targets on which pre-training raises or lowers a metric."""
    rows = []
    for name, table in found.items():
        models: dict[tuple[str, str], list[Result]] = {}
        for result in table.ordered:
            models.setdefault((result.cell.finetune, result.cell.pretrain), []).append(result)
        for (finetune, pretrain), results in models.items():
            for metric in TITLES:
                known = [result for result in results if metric in result.differences]
                if known:
                    model = f"{method_text(pretrain)} → {method_text(finetune)}"
                    rows.append((name, model, TITLES[metric], *_counted(known, metric)))
    what = ("table", "model", "metric", "mean change [95 %]")
    title = "Targets whose 95 % interval lies above 0 (higher), below 0 (lower), or holds 0 (undecided)"
    return Grid((*what, "targets", "higher", "lower", "undecided"), tuple(rows), 3, title)


def _counted(known: Sequence[Result], metric: str) -> tuple[str, ...]:
    changes = [result.differences[metric] for result in known]
    higher = sum(change.low is not None and change.low > 0 for change in changes)
    lower = sum(change.high is not None and change.high < 0 for change in changes)
    mean = over_sets(known, metric, "differences")
    text = change_text(metric, Estimate(mean.value, mean.low, mean.high))
    counts = (len(changes), higher, lower, len(changes) - higher - lower)
    return (text, *map(str, counts))
