"""The question and the answer of an analysis, and the files that are written of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust_transfer.core.errors import ConfigError, EvaluationError
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.environments import ORIGIN, origin_of
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.output.formats import comma_separated, page
from robust_transfer.report.study import notes, registry
from robust_transfer.report.study.blocks import Block, Heading, Paragraph, bullets
from robust_transfer.report.study.claims import sized
from robust_transfer.report.study.tables import Table, build


@dataclass(frozen=True)
class Question:
    """A question to an analysis.

    source : runs or published
    words : the arguments after the analysis's name: a table, or none
    """

    index: Index
    source: str = "runs"
    words: tuple[str, ...] = ()

    def table(self, default: str, *, published: bool = True) -> Table:
        """Return the table that the question is about."""
        if len(self.words) > 1:
            raise ConfigError(f"an analysis takes one table (found {', '.join(self.words)})")
        spec = registry.find(self.words[0].removeprefix("table") if self.words else default)
        if self.source == "published" and not (published and spec.published):
            raise ConfigError(f"table {spec.name} has no published numbers for this", "leave out --source")
        table = build(spec.name, self.source, self.index)
        if not table.ordered:
            raise EvaluationError(
                f"no run stands in table {spec.name} yet",
                *(f"run: {c}" for c in spec.commands(table.cells)[:2]),
            )
        return table


@dataclass(frozen=True)
class Answer:
    """An analysis's text and numbers, and the results that they come from.

    name : stem of its files
    rows : numbers in full precision, under `columns`
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    results: tuple[Result, ...]
    drawing: Drawing | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run behind the answer, once."""
        return tuple({run.key: run for result in self.results for run in result.runs}.values())


def name_of(analysis: str, table: Table) -> str:
    """Return the stem of an answer's files."""
    return f"{analysis}-{table.spec.name}" + ("-published" if table.source == "published" else "")


def files(answer: Answer) -> dict[str, str]:
    """Return an answer's Markdown and CSV, both with warnings, tags and origin."""
    if not answer.rows:
        raise EvaluationError(
            f"{answer.title}: the runs of the store do not allow it (expected models that can be compared)",
            "rt-report runs lists what there is",
        )
    origin = notes.origin(answer.runs) if answer.runs else ("source: the study's published tables",)
    drawn = answer.drawing
    picture: list[Block] = [Paragraph((f"![{drawn.name}]({drawn.name}.png)",))] if drawn else []
    text = page(
        [
            Heading(answer.title),
            *picture,
            *answer.blocks,
            *bullets(notes.measured(answer.results)),
            *bullets(notes.noticed(answer.results)),
            Paragraph(origin, small=True),
        ]
    )
    notices = "; ".join(sorted({n for result in answer.results for n in result.notices}))
    origin_columns = origin_of(answer.runs) if answer.runs else ("published", "", "")
    rows = [(*row, notices, *origin_columns) for row in answer.rows]
    return {
        f"{answer.name}.md": text,
        f"{answer.name}.csv": comma_separated((*answer.columns, "notices", *ORIGIN), rows),
    }


def pairs(table: Table) -> dict[tuple[str, str], list[tuple[Result, Result]]]:
    """Return (pre-trained, without) by fine-tuning and pre-training, one pair per target."""
    by_method: dict[tuple[str, str], list[tuple[Result, Result]]] = {}
    for result in table.ordered:
        reference = table.reference(result) if result.cell.pretrain != "none" else None
        if reference is not None:
            place = (result.cell.finetune, result.cell.pretrain)
            by_method.setdefault(place, []).append((sized(result), sized(reference)))
    return by_method


def results_of(pairs: Sequence[tuple[Result, Result]]) -> tuple[Result, ...]:
    """Return the results of pairs, each once."""
    return tuple({result.cell: result for pair in pairs for result in pair}.values())
