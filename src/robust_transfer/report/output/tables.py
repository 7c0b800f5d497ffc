"""A table as Markdown, CSV and LaTeX."""

from __future__ import annotations

from dataclasses import replace

from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.environments import origin_of
from robust_transfer.report.output.formats import comma_separated, latex, page
from robust_transfer.report.study import notes
from robust_transfer.report.study.blocks import Block, Grid, Heading
from robust_transfer.report.study.spec import TableSpec
from robust_transfer.report.study.tables import Table, caption, cost_grid, footer, main_grid, sections, title
from robust_transfer.report.study.wording import method_text

COLUMNS = (
    "table", "dataset", "shots", "pretrain", "finetune", "evaluator", "sigma", "metric", "unit", "value",
    "low", "high", "interval", "deviation", "pretrainings", "seeds", "varies", "num_images", "difference",
    "difference_low", "difference_high", "p", "gain", "gain_low", "gain_high", "pretrain_seconds",
    "finetune_seconds", "evaluate_seconds", "device", "notices", "stages", "commit", "made_with",
    "run",
)  # fmt: skip
BOLD = "Bold: the best of a row and metric, and every value whose interval reaches it."


def file_name(table: Table) -> str:
    """Return the stem of a table's files."""
    return f"table-{table.spec.name}" + ("-published" if table.source == "published" else "")


def to_markdown(table: Table) -> str:
    """Write the whole table for reading."""
    blocks: list[Block] = [Heading(title(table) + (" (published)" if table.source == "published" else ""))]
    blocks += sections(table)
    blocks += [cost_grid(table)] if table.source == "runs" and table.ordered else []
    return page([*blocks, *footer(table)])


def to_csv(table: Table) -> str:
    """Write every number of a table in full precision, one row per metric; empty cells name their command."""
    rows: list[list[object]] = []
    for cell in table.cells:
        result = table.results.get(cell)
        for metric in cell.metrics:
            rows.append(_csv_row(table.spec, cell, metric, result))
    return comma_separated(COLUMNS, rows)


def _csv_row(spec: TableSpec, cell: Cell, metric: str, result: Result | None) -> list[object]:
    place = [
        spec.name,
        cell.dataset,
        cell.shots,
        cell.pretrain,
        cell.finetune,
        cell.evaluator,
        cell.sigma,
        metric,
    ]
    unit, scale = ("L2", 1.0) if metric == "acr" else ("%", 100.0)
    if result is None or metric not in result.estimates:
        empty = len(COLUMNS) - len(place) - 2
        return [*place, unit, *[None] * empty, spec.commands([cell])[0] if result is None else None]
    estimate, cost = result.estimates[metric], result.cost
    scaled = [_scaled(v, scale) for v in (estimate.value, estimate.low, estimate.high)]
    change, gain = result.differences.get(metric), result.gains.get(metric)
    changes = [_scaled(v, scale) for v in _bounds(change)] + [change.p if change else None]
    changes += [_scaled(v, 100.0) for v in _bounds(gain)]
    costs = [cost.pretrain, cost.finetune, cost.evaluate, cost.device] if cost else [None] * 4
    units = [result.pretrainings, result.seeds, " ".join(result.varies), result.num_images]
    return [
        *[*place, unit, *scaled, estimate.method, _scaled(estimate.deviation, scale)],
        *(units if result.runs else [None] * 4),
        *[*changes, *costs],
        "; ".join(result.notices),
        *origin_of(result.runs),
        None,
    ]


def _bounds(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def to_latex(table: Table) -> str:
    """Write a table for a paper; its origin is in comments."""
    results = table.ordered
    origin = [*notes.measured(results), *notes.provenance(table.results.values())]
    comments = "".join(f"% {line}\n" for line in ("needs the packages booktabs and graphicx", *origin))
    presentation = table.spec.presentation
    grid = presentation.grid(results) if presentation else _with_names(main_grid(table))
    sentence = title(table).split(": ", 1)[1]
    text = f"{sentence[0].upper()}{sentence[1:]}. {caption(table)}"
    below = (
        [*notes.images(results), notes.varying(results), *notes.noticed(results), *notes.caution(results)]
        if results
        else []
    )
    below += [BOLD] if grid.bold else []
    return comments + latex(grid, caption=text, label=f"tab:{table.spec.name}", below=below)


def _with_names(grid: Grid) -> Grid:
    """Write the methods over a grid's columns as papers do."""
    headers = list(grid.headers)
    column = grid.labels
    for name, span in grid.groups:
        for i in range(column, column + span):
            headers[i] = headers[i].replace(name, method_text(name), 1)
        column += span
    groups = tuple((method_text(name), span) for name, span in grid.groups)
    return replace(grid, headers=tuple(headers), groups=groups)
