"""A table with its numbers, from runs or from the publication, and what stands around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robust_transfer.report.analysis.averages import having, mean_gain
from robust_transfer.report.analysis.estimates import Result, from_published, from_runs
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.costs import duration
from robust_transfer.report.index.protocols import choose
from robust_transfer.report.study import notes, registry
from robust_transfer.report.study.blocks import Block, Grid, Paragraph, bullets
from robust_transfer.report.study.spec import TableSpec
from robust_transfer.report.study.wording import interval_text, metric_text, percent

UNITS = "SA, RA and gains in %, ACR in L2 units of [0, 1] pixels; gains are relative to no pre-training."


@dataclass(frozen=True)
class Table:
    """A table's numbers: what is known of its cells.

    source : runs or published
    """

    spec: TableSpec
    source: str
    cells: tuple[Cell, ...]
    results: Mapping[Cell, Result]
    left_out: tuple[tuple[Run, str], ...] = ()

    @property
    def ordered(self) -> list[Result]:
        """The filled cells in the table's order."""
        return [self.results[cell] for cell in self.cells if cell in self.results]


def build(name: str, source: str, index: Index) -> Table:
    """Collect a table's numbers from a store's runs (`runs`) or from the publication (`published`)."""
    spec = registry.find(name)
    cells = tuple(spec.cells(index))
    if source == "published":
        return Table(spec, source, cells, from_published(cells))
    # Cells without pre-training that the table itself does not show are what its gains are relative to.
    wanted = list(dict.fromkeys([*cells, *(cell.reference for cell in cells)]))
    choice = choose(index, wanted, spec.requirements)
    return Table(spec, source, cells, from_runs(index, choice), choice.left_out)


def title(table: Table) -> str:
    """Say what a table shows; of a miniature also how small it is."""
    if not table.spec.small:
        return table.spec.title
    return f"{table.spec.title} ({notes.scale(table.results.values()) or 'no run yet'})"


def caption(table: Table) -> str:
    """Say what a table's numbers are."""
    return table.spec.presentation.caption(table.ordered) if table.spec.presentation else UNITS


def sections(table: Table) -> list[Block]:
    """Return a table's numbers: arranged as in the study, then with everything that is known of each."""
    if table.spec.presentation:
        return table.spec.presentation.sections(table.ordered)
    return [Paragraph((UNITS,)), main_grid(table), *detail_grids(table)]


def footer(table: Table) -> list[Block]:
    """Return what stands under a table."""
    results = table.ordered
    marks = [f"{symbol} {mark}" for mark, symbol in notes.mark_symbols(results).items()]
    varying = notes.varying(results) if table.source == "runs" and results else ""
    origin = notes.provenance(table.results.values())
    return [
        *bullets(notes.measured(results)),
        *([Paragraph((varying,))] if varying else []),
        *bullets(notes.falls(results)),
        *bullets(notes.mean_per_class(results)),
        *bullets(marks),
        *notes.missing(table.spec, table.cells, table.results),
        *notes.left_out(table.left_out),
        *([Paragraph(origin, small=True)] if origin else []),
    ]


def main_grid(table: Table) -> Grid:
    """Return a table's numbers arranged as in the study."""
    layout = table.spec.arrangement.layout(table.cells)
    symbols = notes.mark_symbols(table.ordered)
    rows = []
    for label, cells in layout.rows:
        texts = [_value(table.results.get(cells[c.group]), c.metric, symbols) for c in layout.columns]
        rows.append((*label, *texts))
    headers = (*layout.labels, *(column.header for column in layout.columns))
    return Grid(headers, tuple(rows), len(layout.labels))


def _value(result: Result | None, metric: str, symbols: Mapping[str, str]) -> str:
    if result is None or metric not in result.estimates:
        return "–"
    found = result.estimates[metric]
    spread = "" if found.deviation is None else f"±{metric_text(metric, found.deviation)}"
    return metric_text(metric, found.value) + spread + "".join(symbols[mark] for mark in result.marks)


def detail_grids(table: Table) -> list[Grid]:
    """Return for each kind of model: images, seeds, intervals and gains of every set, and the mean gain."""
    kinds: dict[tuple[object, ...], list[Result]] = {}
    for result in table.ordered:
        cell = result.cell
        kinds.setdefault((cell.pretrain, cell.finetune, cell.sigma), []).append(result)
    grids = [_detail(results, table.source == "runs") for results in kinds.values()]
    return [grid for grid in grids if len(grid.headers) > 1]


def _detail(results: Sequence[Result], runs: bool) -> Grid:
    cell = results[0].cell
    gained = [metric for metric in cell.metrics if any(metric in r.gains for r in results)]
    sigma = "" if cell.sigma is None else f", sigma {cell.sigma:g}"
    headers = ["dataset"]
    headers += ["n", "seeds", *(f"{TITLES[m]} [95 %]" for m in cell.metrics)] if runs else []
    headers += [f"{TITLES[m]} gain" for m in gained]
    rows = []
    for result in results:
        row = [result.cell.target]
        if runs:
            row += [str(result.num_images), str(result.seeds)]
            row += [_interval(result, metric) for metric in cell.metrics]
        row += [percent(_gain(result, metric), signed=True) for metric in gained]
        rows.append(tuple(row))
    if gained:
        means = [percent(mean_gain(having(results, metric), metric).value, signed=True) for metric in gained]
        rows.append(("mean", *[""] * (len(headers) - 1 - len(means)), *means))
    return Grid(
        tuple(headers), tuple(rows), 1, f"Pre-training {cell.pretrain}, fine-tuning {cell.finetune}{sigma}"
    )


def _interval(result: Result, metric: str) -> str:
    found = result.estimates.get(metric)
    if found is None:
        return "–"
    return f"{metric_text(metric, found.value)} {interval_text(metric, found.low, found.high)}".strip()


def _gain(result: Result, metric: str) -> float | None:
    return result.gains[metric].value if metric in result.gains else None


def cost_grid(table: Table) -> Grid:
    """Return what the table's models cost in device time: one pre-training, and fine-tuning over all sets."""
    kinds: dict[tuple[str, str], list[Result]] = {}
    for result in table.ordered:
        kinds.setdefault((result.cell.pretrain, result.cell.finetune), []).append(result)
    rows = []
    for (pretrain, finetune), results in kinds.items():
        costs = [r.cost for r in results if r.cost is not None]
        once = max((c.pretrain for c in costs if c.pretrain is not None), default=None)
        runs = len({run.lineage.finetune_key for r in results for run in r.runs})
        each = [(c.finetune, c.evaluate) for c in costs]
        fine = None if any(f is None for f, _ in each) else sum(f or 0.0 for f, _ in each) / len(each)
        evaluation = None if any(e is None for _, e in each) else sum(e or 0.0 for _, e in each) / len(each)
        device = ", ".join(sorted({c.device for c in costs if c.device})) or "unknown"
        cells = (duration(once) if pretrain != "none" else "0 s", duration(fine), duration(evaluation))
        rows.append((pretrain, finetune, *cells, str(runs), device))
    headers = ("pretrain", "finetune", "pre-train", "fine-tune", "evaluate", "models", "device")
    title = "Cost in device time (pre-training once; the rest: mean of one model)"
    return Grid(headers, tuple(rows), 2, title, notes=1)
