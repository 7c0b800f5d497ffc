"""How the effect of pre-training varies over data sets, and with their size and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robust_transfer.data import catalogue
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.analysis.sets import Coefficient, meta_regression, mixed_model
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, pairs, results_of
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.wording import method_text

COLUMNS = (
    "finetune",
    "pretrain",
    "metric",
    "model",
    "term",
    "value",
    "low",
    "high",
    "p",
    "between_sets",
    "within_sets",
)
SAYS = (
    "Differences against no pre-training in points. Mixed model: sets, and models within a set, drawn "
    "at random (REML). Meta-regression: random effects over sets with Knapp and Hartung's intervals; "
    "`mean` is the effect on a set of average size, the slopes are points for ten times the training "
    "images or classes. Few sets show only large slopes, and other things differ between sets too."
)
Pairs = Sequence[tuple[Result, Result]]


def answer(question: Question) -> Answer:
    """Fit both models to every pre-training and accuracy of a table."""
    table = question.table("2")
    by_method = pairs(table)
    rows: list[tuple[object, ...]] = []
    for (finetune, pretrain), group in by_method.items():
        for metric in ("sa", "ra"):
            compared = [pair for pair in group if metric in pair[0].differences]
            place = (finetune, pretrain, metric)
            rows += [(*place, *row) for row in [*_mixed(compared, metric), *_regressed(compared, metric)]]
    shown = tuple(
        (
            method_text(str(row[1])),
            TITLES[str(row[2])],
            str(row[3]),
            str(row[4]),
            _text(row),
            f"{row[8]:.2g}",
            _spread(row),
        )
        for row in rows
    )
    headers = ("pre-training", "metric", "model", "term", "points [95 %]", "p", "sd between sets (within)")
    blocks = (Grid(headers, shown, 4), Paragraph((SAYS,)))
    results = results_of([pair for group in by_method.values() for pair in group])
    title = f"How the effect varies over data sets, table {table.spec.name}"
    return Answer(name_of("sets", table), title, blocks, COLUMNS, tuple(rows), results)


def _mixed(pairs: Pairs, metric: str) -> list[tuple[object, ...]]:
    effects: dict[str, list[float]] = {}
    for ours, _ in pairs:
        sample = ours.differences[metric].sample
        if sample is not None:
            each = [100 * float(values.mean()) for values in sample.at.values()]
            effects.setdefault(ours.cell.dataset, []).extend(each)
    fitted = mixed_model(effects) if effects else None
    return [("mixed", *_row(fitted.mean), fitted.between_sets, fitted.within_sets)] if fitted else []


def _regressed(pairs: Pairs, metric: str) -> list[tuple[object, ...]]:
    effects = [100 * ours.differences[metric].value for ours, _ in pairs]
    variances = [1e4 * _variance(ours, theirs, metric) for ours, theirs in pairs]
    described = [_described(ours.cell) for ours, _ in pairs]
    models: dict[str, dict[str, list[float]]] = {"meta-analysis": {}}
    if all(described):
        images, classes = ([math.log10(d[i]) for d in described if d] for i in (0, 1))
        models |= {"on images": {"log10 images": images}, "on classes": {"log10 classes": classes}}
    rows: list[tuple[object, ...]] = []
    for name, covariates in models.items():
        if fitted := meta_regression(effects, variances, covariates):
            rows += [(name, *_row(coefficient), fitted.between, None) for coefficient in fitted.coefficients]
    return rows


def _variance(ours: Result, theirs: Result, metric: str) -> float:
    sample = ours.differences[metric].sample
    if sample is not None:
        return float(crossed.covariance(sample.values)[0, 0])
    shares = [(result.estimates[metric].value, result.num_images or 1) for result in (ours, theirs)]
    return sum(share * (1 - share) / n for share, n in shares)


def _described(cell: Cell) -> tuple[int, int] | None:
    """Return the training images and classes of a target, None where the catalogue has none."""
    entry = catalogue.get(cell.dataset) if cell.dataset in catalogue.names() else None
    if entry is None or not entry.num_classes:
        return None
    images = cell.shots * entry.num_classes if cell.shots else entry.train
    return (images, entry.num_classes) if images else None


def _row(coefficient: Coefficient) -> tuple[object, ...]:
    return coefficient.name, coefficient.value, coefficient.low, coefficient.high, coefficient.p


def _text(row: Sequence[object]) -> str:
    return f"{row[5]:+.1f} [{row[6]:+.1f}, {row[7]:+.1f}]"


def _spread(row: Sequence[object]) -> str:
    within = "" if row[10] is None else f" ({row[10]:.1f})"
    return f"{row[9]:.1f}{within}"
