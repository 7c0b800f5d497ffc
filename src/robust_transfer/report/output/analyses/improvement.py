"""How often a pre-trained model is the better one, and performance profiles over all sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.analysis.improvement import Array, probability_of_improvement, profile
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.output import canvas
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, pairs, results_of
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.wording import method_text, model_names

COLUMNS = ("finetune", "pretrain", "metric", "targets", "probability", "low", "high")
SAYS = (
    "The probability that a model with this pre-training is better than one without on a target drawn "
    "from these; ties count half. Intervals redraw the models of each target; with one model per target "
    "there are none. It says how often, not by how much: 51 wins of a hundredth of a point are 100 %."
)
AT = np.linspace(0, 1, 201)


def answer(question: Question) -> Answer:
    """Count wins over no pre-training, and draw the profiles of every method."""
    table = question.table("2")
    by_method = pairs(table)
    rows: list[tuple[object, ...]] = []
    for (finetune, pretrain), group in by_method.items():
        for metric in group[0][0].cell.metrics:
            measured = [pair for pair in group if all(metric in result.estimates for result in pair)]
            ours, theirs = ([_models(pair[side], metric) for pair in measured] for side in (0, 1))
            share = probability_of_improvement(ours, theirs)
            numbers = (None if v is None else 100 * v for v in (share.value, share.low, share.high))
            rows.append((finetune, pretrain, metric, len(measured), *numbers))
    shown = tuple(
        (method_text(str(row[0])), method_text(str(row[1])), TITLES[str(row[2])], str(row[3]), _text(row))
        for row in rows
    )
    headers = ("fine-tuning", "pre-training", "metric", "targets", "better than none, % [95 %]")
    results = results_of([pair for group in by_method.values() for pair in group])
    name = name_of("improvement", table)
    title = f"How often pre-training improves, table {table.spec.name}"
    blocks = (Grid(headers, shown, 3), Paragraph((SAYS,)))
    return Answer(name, title, blocks, COLUMNS, tuple(rows), results, _profiles(f"figure-{name}", results))


def _models(result: Result, metric: str) -> Array:
    """Return the value of each independent model: of each pre-training where there are several."""
    estimate = result.estimates[metric]
    if estimate.sample is None:
        return np.array([estimate.value])
    values = estimate.sample.values
    return np.asarray(values.mean(axis=(1, 2)) if values.shape[0] > 1 else values.mean(axis=2).ravel())


def _profiles(name: str, results: tuple[Result, ...]) -> Drawing:
    methods: dict[tuple[str, str], list[Array]] = {}
    for result in results:
        methods.setdefault((result.cell.finetune, result.cell.pretrain), []).append(_models(result, "ra"))
    curves = {
        place: profile(models, AT)
        for place, models in sorted(methods.items(), key=lambda i: i[0][1] != "none")
    }

    def draw(axes: list[Any]) -> None:
        names = model_names([Cell("", pretrain, finetune, "", None) for finetune, pretrain in curves])
        for name, (_, pretrain), curve in zip(names, curves, curves.values(), strict=True):
            style = canvas.style_of(pretrain)
            line = {"color": style["color"], "linestyle": style["linestyle"]}
            axes[0].step(
                100 * AT,
                100 * curve,
                where="post",
                label=name,
                **line,
            )
        axes[0].set(
            xlabel="RA (%)", ylabel="models above, mean over targets (%)", xlim=(0, 100), ylim=(0, 102)
        )
        canvas.legend(axes[0])

    caption = "Performance profile: the share of models whose RA is above x, averaged over targets."
    rows = tuple(
        (*place, float(x), float(y))
        for place, curve in curves.items()
        for x, y in zip(100 * AT, 100 * curve, strict=True)
    )
    runs = tuple(run for result in results for run in result.runs)
    return Drawing(name, caption, (1, 1), draw, ("finetune", "pretrain", "ra", "share_above"), rows, runs)


def _text(row: tuple[object, ...]) -> str:
    return f"{row[4]:.0f}" if row[5] is None else f"{row[4]:.0f} [{row[5]:.0f}, {row[6]:.0f}]"
