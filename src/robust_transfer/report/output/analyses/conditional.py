"""Are correct images more robust? RA/SA of each set with a test, and R squared beside its reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robust_transfer.core import statistics
from robust_transfer.report.analysis.averages import having, over_like_sets
from robust_transfer.report.analysis.conditional import conditional, mechanical_r2
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.analysis.ratios import ratio_change, signs
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, pairs, results_of
from robust_transfer.report.study.blocks import Block, Grid, Paragraph, bullets
from robust_transfer.report.study.wording import change_text, method_text, percent

COLUMNS = (
    "finetune", "target", "pretrain", "ra_over_sa", "ra_over_sa_none", "change", "low", "high", "p", "p_holm",
    "change_if_both_right", "both_right_low", "both_right_high",
)  # fmt: skip
SAYS = (
    "RA/SA: of the images classified correctly, the share that stays correct under attack, in %; its change "
    "against no pre-training in points. Newly correct images may be the harder ones: `both right` "
    "compares the two models on the images that both classify correctly, which published tables cannot."
)
Pairs = Sequence[tuple[Result, Result]]


def answer(question: Question) -> Answer:
    """Compare RA/SA with that of no pre-training on every target, and over sets."""
    table = question.table("2")
    by_method = pairs(table)
    tested = [(*place, *pair, ratio_change(*pair)) for place, group in by_method.items() for pair in group]
    testable = [one for one in tested if one[4] is not None]
    adjusted = statistics.holm(
        [change.p for *_, change in testable if change is not None and change.p is not None]
    )
    rows, shown = [], []
    for (finetune, pretrain, ours, theirs, change), p in zip(testable, adjusted, strict=True):
        assert change is not None
        one, other = (
            result.estimates["ra"].value / result.estimates["sa"].value for result in (ours, theirs)
        )
        both = conditional(ours, theirs)
        paired = both.differences["ra"] if both else None
        target = ours.cell.target
        scaled = (100 * v for v in (one, other, change.value, change.low or 0.0, change.high or 0.0))
        of_both = (
            None if v is None else 100 * v
            for v in (paired and (paired.value, paired.low, paired.high)) or (None,) * 3
        )
        rows.append((finetune, target, pretrain, *scaled, change.p, p, *of_both))
        texts = (percent(one), percent(other), change_text("ra", change), f"{p:.2g}")
        shown.append((target, method_text(pretrain), *texts, change_text("ra", paired) if paired else "–"))
    headers = ("target", "pre-training", "RA/SA", "none", "change [95 %]", "p (Holm)", "both right")
    blocks: tuple[Block, ...] = (
        Grid(headers, tuple(shown), 2),
        *bullets([line for place, group in by_method.items() for line in _over_sets(place[1], group)]),
        Paragraph((SAYS,)),
    )
    results = results_of([pair for group in by_method.values() for pair in group])
    title = f"Robustness of correct images: RA/SA against no pre-training, table {table.spec.name}"
    return Answer(name_of("conditional", table), title, blocks, COLUMNS, tuple(rows), results)


def _over_sets(pretrain: str, group: Pairs) -> list[str]:
    changes: dict[str, list[Estimate]] = {}
    for ours, theirs in group:
        if (change := ratio_change(ours, theirs)) is not None:
            changes.setdefault(ours.cell.dataset, []).append(change)
    means = [float(np.mean([change.value for change in of_set])) for of_set in changes.values()]
    lines = []
    if len(means) > 1:
        (low, high), _ = over_like_sets(means)
        text = change_text("ra", Estimate(float(np.mean(means)), low, high))
        counted = signs(means)
        rank = (
            f"; lower on {counted.falling} of {len(means)} sets, Wilcoxon p {counted.p:.2g}"
            if counted
            else ""
        )
        lines.append(
            f"{method_text(pretrain)}: mean change in RA/SA {text} points over sets like these{rank}"
        )
    allowed = {result.cell for result in having([ours for ours, _ in group], "ra")}
    if fit := mechanical_r2([pair for pair in group if pair[0].cell in allowed], "gains"):
        span = f"{fit.median:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
        lines.append(
            f"{method_text(pretrain)}: R² of gains in RA on gains in SA is {fit.r2:.2f}; had RA/SA of "
            f"no set changed, it would be {span}"
        )
    return lines
