"""Is robust pre-training unnecessary? Equivalence of other pre-trainings with the robust one (Table 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robust_transfer.core.statistics import Z90, Z95
from robust_transfer.report.analysis.averages import aligned
from robust_transfer.report.analysis.equivalence import MARGIN, Equivalence, equivalence, judge
from robust_transfer.report.analysis.estimates import Estimate, Result, difference
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, results_of
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.claims import sized
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import method_text

METRICS = ("sa", "ra")
COLUMNS = (
    "finetune", "target", "pretrain", "instead_of", "metric", "difference", "low_90", "high_90", "margin",
    "smallest_margin", "verdict",
)  # fmt: skip
SAYS = (
    f"Equivalent: the 90 % interval lies within {MARGIN:g} points either way (two one-sided tests at 5 "
    "%). Different: the 95 % interval excludes 0. Else the data cannot decide, whatever the difference."
    " The last number is the smallest margin within which equivalence is shown."
)


def answer(question: Question) -> Answer:
    """Compare every other pre-training with the robust one, on each target and over all."""
    table = question.table("4")
    by_method = _robust_pairs(table)
    rows: list[tuple[object, ...]] = []
    for (finetune, pretrain), group in by_method.items():
        for metric in METRICS:
            tested = [(ours.cell.target, _one(ours, theirs, metric)) for ours, theirs in group]
            tested.append((f"mean of {len(group)}", _all(group, metric) if len(group) > 1 else None))
            for target, judgement in tested:
                if judgement is not None:
                    rows.append((finetune, target, pretrain, finetune, metric, *_numbers(judgement)))
    shown = tuple(
        (
            method_text(str(finetune)),
            str(target),
            f"{method_text(str(pretrain))} for {method_text(str(robust))}",
            TITLES[str(metric)],
            f"{numbers[0]:+.1f} [{numbers[1]:+.1f}, {numbers[2]:+.1f}]",
            f"{numbers[4]:.1f}",
            str(numbers[5]),
        )
        for finetune, target, pretrain, robust, metric, *numbers in rows
    )
    headers = (
        "fine-tuning",
        "target",
        "pre-training",
        "metric",
        "points [90 %]",
        "smallest margin",
        "verdict",
    )
    blocks = (Grid(headers, shown, 4, notes=1), Paragraph((SAYS,)))
    results = results_of([pair for group in by_method.values() for pair in group])
    title = (
        f"Is robust pre-training unnecessary? Equivalence within {MARGIN:g} points, table {table.spec.name}"
    )
    return Answer(name_of("equivalence", table), title, blocks, COLUMNS, tuple(rows), results)


def _robust_pairs(table: Table) -> dict[tuple[str, str], list[tuple[Result, Result]]]:
    """Return (other, robust) by fine-tuning and other pre-training: the robust one is that of fine-tuning."""
    by_cell = {result.cell: result for result in table.ordered}
    by_method: dict[tuple[str, str], list[tuple[Result, Result]]] = {}
    for cell, result in by_cell.items():
        robust = next(
            (r for c, r in by_cell.items() if c.group == cell.group and c.pretrain == c.finetune), None
        )
        if robust is not None and cell.pretrain not in ("none", cell.finetune):
            by_method.setdefault((cell.finetune, cell.pretrain), []).append((sized(result), sized(robust)))
    return by_method


def _one(ours: Result, theirs: Result, metric: str) -> Equivalence | None:
    change = difference(ours, theirs, metric)
    if change is not None and change.sample is not None:
        return equivalence([change.sample.values], MARGIN / 100)
    return _published([(ours, theirs)], metric) if not ours.runs else None


def _all(group: Sequence[tuple[Result, Result]], metric: str) -> Equivalence | None:
    if not group[0][0].runs:
        return _published(group, metric)
    changes: list[Estimate | None] = [difference(ours, theirs, metric) for ours, theirs in group]
    arrays = aligned([[change.sample] for change in changes if change is not None])
    return equivalence(arrays, MARGIN / 100) if arrays else None


def _published(group: Sequence[tuple[Result, Result]], metric: str) -> Equivalence:
    """Judge published numbers, of models on independent images."""
    gaps, variance = [], 0.0
    for ours, theirs in group:
        one, other = (result.estimates[metric].value for result in (ours, theirs))
        gaps.append(one - other)
        variance += one * (1 - one) / (ours.num_images or 1) + other * (1 - other) / (theirs.num_images or 1)
    gap, error = sum(gaps) / len(gaps), math.sqrt(variance) / len(gaps)
    inner, outer = ((gap - z * error, gap + z * error) for z in (Z90, Z95))
    return judge(gap, inner, outer, MARGIN / 100)


def _numbers(test: Equivalence) -> tuple[float, float, float, float, float, str]:
    bounds = (100 * test.difference, 100 * test.low, 100 * test.high)
    return (*bounds, MARGIN, 100 * test.smallest, test.verdict)
