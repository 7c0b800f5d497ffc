"""A table with its numbers, from runs or from the publication, and its captions and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robust_transfer.report.analysis.averages import Measure, SetsMean, over_sets
from robust_transfer.report.analysis.estimates import Estimate, Result, from_published, from_runs
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.costs import duration
from robust_transfer.report.index.protocols import choose
from robust_transfer.report.study import notes, registry
from robust_transfer.report.study.blocks import Block, Grid, Paragraph, bullets
from robust_transfer.report.study.spec import Column, TableSpec
from robust_transfer.report.study.wording import (
    change_text,
    gain_text,
    interval_text,
    metric_text,
    units_text,
)

UNITS = (
    "SA, RA and relative gains in %, ACR in L2 units of [0, 1] pixels; differences in points (ACR: L2), "
    "against no pre-training on the same images and seeds."
)


@dataclass(frozen=True)
class Table:
    """A table's numbers: the results of its cells.

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

    def reference(self, result: Result) -> Result | None:
        """Return what a result's differences and gains are relative to."""
        cell = result.cell.reference
        result_of = self.results.get(cell)
        if result_of is None and self.source == "published" and cell in published.all_cells():
            return from_published([cell])[cell]
        return result_of


def build(name: str, source: str, index: Index) -> Table:
    """Collect a table's numbers from a store's runs (`runs`) or from the publication (`published`)."""
    spec = registry.find(name)
    cells = tuple(spec.cells(index))
    if source == "published":
        return Table(spec, source, cells, from_published(cells))
    # Cells without pre-training that the table itself does not show are what its gains are relative to.
    needed = list(dict.fromkeys([*cells, *(cell.reference for cell in cells)]))
    choice = choose(index, needed, spec.requirements)
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
    """Return a table's numbers: arranged as in the study, then in full detail."""
    if table.spec.presentation:
        return table.spec.presentation.sections(table.ordered)
    return [Paragraph((UNITS,)), main_grid(table), *detail_grids(table)]


def footer(table: Table) -> list[Block]:
    """Return the notes under a table."""
    results = table.ordered
    varying = notes.varying(results) if table.source == "runs" and results else ""
    origin = notes.provenance(table.results.values())
    return [
        *bullets(notes.measured(results)),
        *([Paragraph((varying,))] if varying else []),
        *bullets(notes.falls(results)),
        *bullets(notes.mean_per_class(results)),
        *bullets([f"{line}; {notes.ACR_SPLIT}" for line in notes.caution(results)]),
        *bullets(notes.noticed(results)),
        *notes.missing(table.spec, table.cells, table.results),
        *notes.left_out(table.left_out),
        *([Paragraph(origin, small=True)] if origin else []),
    ]


def main_grid(table: Table) -> Grid:
    """Return a table's numbers arranged as in the study."""
    layout = table.spec.arrangement.layout(table.cells)
    symbols = notes.symbols(table.ordered)
    rows, bold = [], set()
    for position, (label, cells) in enumerate(layout.rows):
        results = [table.results.get(cells[column.group]) for column in layout.columns]
        texts = [_value(r, c.metric, symbols) for r, c in zip(results, layout.columns, strict=True)]
        rows.append((*label, *texts))
        bold |= {(position, len(label) + best) for best in _best(results, layout.columns)}
    headers = (*layout.labels, *(column.header for column in layout.columns))
    groups: dict[str, int] = {}
    for column in layout.columns:
        name = column.header.removesuffix(TITLES[column.metric]).strip()
        groups[name] = groups.get(name, 0) + 1
    return Grid(headers, tuple(rows), len(layout.labels), groups=tuple(groups.items()), bold=frozenset(bold))


def _best(results: Sequence[Result | None], columns: Sequence[Column]) -> list[int]:
    """Return the columns of a row that are best in their metric, or whose interval reaches the best."""
    positions = []
    for metric in TITLES:
        estimates = {
            position: result.estimates[metric]
            for position, (result, column) in enumerate(zip(results, columns, strict=True))
            if result is not None and column.metric == metric and metric in result.estimates
        }
        best = max((estimate.value for estimate in estimates.values()), default=0.0)
        if len(estimates) > 1:
            positions += [p for p, e in estimates.items() if (e.value if e.high is None else e.high) >= best]
    return positions


def _value(result: Result | None, metric: str, symbols: Mapping[str, str]) -> str:
    if result is None or metric not in result.estimates:
        return "–"
    estimate = result.estimates[metric]
    spread = "" if estimate.deviation is None else f"±{metric_text(metric, estimate.deviation)}"
    marks = "".join(dict.fromkeys(symbols[notice] for notice in result.notices))
    return metric_text(metric, estimate.value) + spread + marks


def detail_grids(table: Table) -> list[Grid]:
    """Return for each kind of model the numbers of every set, and means over sets."""
    kinds: dict[tuple[object, ...], list[Result]] = {}
    for result in table.ordered:
        cell = result.cell
        kinds.setdefault((cell.pretrain, cell.finetune, cell.sigma), []).append(result)
    grids = [_detail(results, table.source == "runs") for results in kinds.values()]
    return [grid for grid in grids if len(grid.headers) > 1]


def _detail(results: Sequence[Result], runs: bool) -> Grid:
    cell = results[0].cell
    changed = [metric for metric in cell.metrics if any(metric in r.differences for r in results)]
    sigma = "" if cell.sigma is None else f", sigma {cell.sigma:g}"
    headers = ["dataset"]
    headers += ["n", "units", *(f"{TITLES[m]} [95 %]" for m in cell.metrics)] if runs else []
    headers += [f"{TITLES[m]} {what}" for m in changed for what in ("difference", "gain %")]
    rows = []
    for result in results:
        row = [result.cell.target]
        if runs:
            row += [str(result.num_images), units_text(result.pretrainings, result.seeds)]
            row += [_interval(result, metric) for metric in cell.metrics]
        row += [text for metric in changed for text in _changes(result, metric)]
        rows.append(tuple(row))
    blank = [""] * (3 + len(cell.metrics) if runs else 1)
    means = [
        (metric, measure, _over_sets(results, metric, measure)) for metric in changed for measure in MEASURES
    ]
    for label, part in MEANS.items() if changed else ():
        texts = [_mean(metric, measure, mean, part) for metric, measure, mean in means]
        if any(texts):
            rows.append((label, *blank[1:], *texts))
    title = f"Pre-training {cell.pretrain}, fine-tuning {cell.finetune}{sigma}"
    partly = {mean.partly for _, measure, mean in means if mean is not None and measure == "differences"}
    title += "".join(f"; means over sets: {text}" for text in sorted(filter(None, partly)))
    return Grid(tuple(headers), tuple(rows), 1, title)


def _over_sets(results: Sequence[Result], metric: str, measure: Measure) -> SetsMean | None:
    having = [result for result in results if metric in getattr(result, measure)]
    return over_sets(having, metric, measure) if having else None


MEASURES: tuple[Measure, ...] = ("differences", "gains")
# Rows under a table of sets, and the bounds of the mean over sets in each.
MEANS = {
    "mean": ("low", "high"),
    "sets like these": ("like_low", "like_high"),
    "one more set": ("new_low", "new_high"),
}


def _changes(result: Result, metric: str) -> tuple[str, str]:
    change, gain = result.differences.get(metric), result.gains.get(metric)
    return (change_text(metric, change) if change else "–", gain_text(gain) if gain else "–")


def _mean(metric: str, measure: Measure, mean: SetsMean | None, part: tuple[str, str]) -> str:
    """Write the mean over sets of differences or of gains, with the bounds that `part` names."""
    if mean is None:
        return "–"
    bounds = [getattr(mean, name) for name in part]
    if part[0] != "low" and bounds[0] is None:
        return ""
    shown = Estimate(mean.value, *bounds)
    return gain_text(shown) if measure == "gains" else change_text(metric, shown)


def _interval(result: Result, metric: str) -> str:
    estimate = result.estimates.get(metric)
    if estimate is None:
        return "–"
    interval = interval_text(metric, estimate.low, estimate.high)
    return f"{metric_text(metric, estimate.value)} {interval}".strip()


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
    title = "Cost in device time (all pre-trainings; the rest: mean of one model)"
    return Grid(headers, tuple(rows), 2, title, notes=1)
