"""The study on real photographs: its findings as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robust_transfer.report.index.environments import ORIGIN, origin_of
from robust_transfer.report.output.formats import comma_separated, page
from robust_transfer.report.study import natural, notes
from robust_transfer.report.study.blocks import Block, Heading, Paragraph, bullets
from robust_transfer.report.study.findings import INTERVALS, Finding, sentences
from robust_transfer.report.study.tables import Table

COLUMNS = (
    "finding", "value", "low", "high", "like_low", "like_high", "unit", "method", "p", "p_holm", "verdict",
    "answers", "targets", "sentence",
)  # fmt: skip


def to_markdown(findings: Sequence[Finding], tables: Mapping[str, Table]) -> str:
    """Write the sentences, then how everything was measured, what is missing, and where it comes from."""
    filled = {cell: result for table in tables.values() for cell, result in table.results.items()}
    cells = list(dict.fromkeys(cell for table in tables.values() for cell in table.cells))
    results = list(filled.values())
    origin = notes.provenance(results)[:2]
    blocks = [
        Heading(f"What the study on real photographs found ({notes.scale(results) or 'no run yet'})"),
        Paragraph((INTERVALS + notes.few_seeds(results),)),
        *parts(findings),
        *bullets(notes.measured(results)),
        *bullets(notes.noticed(results)),
        *notes.missing(natural.TABLES[0], cells, filled),
        *([Paragraph((*origin, "stages: findings.csv names those behind each sentence"))] if origin else []),
    ]
    return page(blocks)


def parts(findings: Sequence[Finding]) -> list[Block]:
    """Write the contrasts that were fixed before the run apart from all else."""
    if not findings:
        return [Paragraph(("No two models that can be compared yet.",))]
    fixed, exploratory = ([f for f in findings if bool(f.answers) is kind] for kind in (True, False))
    blocks: list[Block] = []
    for title, part in (("Contrasts fixed before the run:", fixed), ("Exploratory:", exploratory)):
        if part:
            blocks += [Paragraph((title,)), *bullets(sentences(part))]
    return blocks


def to_csv(findings: Sequence[Finding]) -> str:
    """Write the findings in full precision, with the stages behind each."""
    rows: list[list[object]] = []
    for finding in findings:
        values = [getattr(finding, name) for name in COLUMNS]
        rows.append([*values, "; ".join(finding.notices), *origin_of(finding.runs)])
    return comma_separated((*COLUMNS, "notices", *ORIGIN), rows)
