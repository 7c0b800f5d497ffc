"""How many labels pre-training saves: the horizontal distance between curves over images per class."""

from __future__ import annotations

from robust_transfer.core.errors import ConfigError, EvaluationError
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.analysis.labels_saved import Saved, labels_saved
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.output.analyses.answer import Answer, Question
from robust_transfer.report.output.shots import Lines, curves_of
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.wording import method_text

COLUMNS = (
    "dataset",
    "finetune",
    "pretrain",
    "axis",
    "amount",
    "metric",
    "value",
    "times_the_labels",
    "low",
    "high",
)
SAYS = (
    "Times as many labels as a model without pre-training needs for the same accuracy, read between its"
    " points over the logarithm of their number. The interval holds every amount at which it is not "
    "shown to differ; ≥ or ≤: beyond the amounts that were tried."
)


def answer(question: Question) -> Answer:
    """Compare every pre-training with none, at every amount of labels."""
    if question.words or question.source != "runs":
        raise ConfigError(
            "the labels that are saved come from all runs with few labels", "rt-report analysis labels"
        )
    rows: list[tuple[object, ...]] = []
    shown: list[tuple[str, ...]] = []
    results: list[Result] = []
    for (cell, axis), lines in curves_of(question.index).items():
        results += [result for points in lines.values() for _, result in points]
        for pretrain, points in lines.items():
            for amount, ours in points if pretrain != "none" else ():
                for metric in ("sa", "ra"):
                    saved = _saved(amount, ours, lines, metric)
                    if saved is None:
                        continue
                    value = 100 * ours.estimates[metric].value
                    place = (cell.dataset, cell.finetune, pretrain, axis, amount, metric)
                    rows.append((*place, value, saved.factor, saved.low, saved.high))
                    names = (
                        cell.dataset,
                        f"{amount:g}",
                        f"{method_text(pretrain)} > {method_text(cell.finetune)}",
                    )
                    shown.append((*names, TITLES[metric], f"{value:.1f}", _text(saved)))
    if not rows:
        raise EvaluationError(
            "no models with and without pre-training at two or more amounts of labels",
            "rt-train -m pretrain=none,simclr finetune=at dataset=pets dataset.shots=2,5,10,20",
        )
    headers = ("data set", "labels", "model", "metric", "value", "times the labels [95 %]")
    blocks = (Grid(headers, tuple(shown), 4), Paragraph((SAYS,)))
    return Answer("labels", "Labels that pre-training saves", blocks, COLUMNS, tuple(rows), tuple(results))


def _saved(amount: float, ours: Result, lines: Lines, metric: str) -> Saved | None:
    estimate = ours.estimates.get(metric)
    curve = [
        (where, result.estimates[metric].sample)
        for where, result in lines.get("none", ())
        if metric in result.estimates
    ]
    if estimate is None or estimate.sample is None:
        return None
    return labels_saved(amount, estimate.sample, [(where, sample) for where, sample in curve if sample])


def _text(saved: Saved) -> str:
    low = "≤" if saved.low is None else f"{saved.low:.1f}"
    high = "≥" if saved.high is None else f"{saved.high:.1f}"
    factor = "beyond" if saved.factor is None else f"{saved.factor:.1f}"
    return f"{factor} [{low}, {high}]"
