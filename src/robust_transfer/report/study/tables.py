"""The study's tables and the quickstart's, from runs or from the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robust_transfer.report.analysis.averages import having, mean_gain
from robust_transfer.report.analysis.estimates import Result, from_published, from_runs
from robust_transfer.report.index.cells import TITLES, Cell, command_for
from robust_transfer.report.index.collect import Index, Run, commits
from robust_transfer.report.index.costs import duration
from robust_transfer.report.index.protocols import choose
from robust_transfer.report.output import notes
from robust_transfer.report.output.formats import (
    Grid,
    comma_separated,
    interval_text,
    latex,
    markdown,
    metric_text,
    percent,
    wrapped,
)
from robust_transfer.report.study import mini_study, quickstart, specs

UNITS = "SA, RA and gains in %, ACR in L2 units of [0, 1] pixels; gains are relative to no pre-training."
COLUMNS = (
    "table", "dataset", "shots", "pretrain", "finetune", "evaluator", "sigma", "metric", "unit", "value",
    "low", "high", "interval", "deviation", "seeds", "varies", "num_images", "gain", "gain_low", "gain_high",
    "pretrain_seconds", "finetune_seconds", "evaluate_seconds", "device", "marks", "stages", "commit",
    "run",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table's numbers: what is known of its cells."""

    name: str
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
    cells = specs.cells_of(name, index)
    if source == "published":
        return Table(name, source, tuple(cells), from_published(cells))
    # Cells without pre-training that the table itself does not show are what its gains are relative to.
    wanted = list(dict.fromkeys([*cells, *(cell.reference for cell in cells)]))
    choice = choose(index, wanted, specs.spec_of(name))
    return Table(name, source, tuple(cells), from_runs(index, choice), choice.left_out)


def file_name(table: Table) -> str:
    """Return the stem of a table's files."""
    return f"table-{table.name}" + ("-published" if table.source == "published" else "")


def title(table: Table) -> str:
    """Say what a table shows; of a miniature also how small it is."""
    if table.name not in mini_study.TABLES:
        return specs.TITLE[table.name]
    number, sentence = specs.TITLE[specs.kind_of(table.name)].split(": ", 1)
    scale = notes.scale(table.results.values()) or "no run yet"
    return f"{number} in miniature: {sentence} ({scale})"


def to_markdown(table: Table) -> str:
    """Write the whole table for reading."""
    parts = [f"## {title(table)}" + (" (published)" if table.source == "published" else "")]
    if table.name == "quickstart":
        parts += quickstart.sections(table.ordered)
    else:
        parts += [wrapped([UNITS]), markdown(main_grid(table))]
        parts += [markdown(grid) for grid in detail_grids(table)]
    if table.source == "runs":
        parts += [markdown(cost_grid(table))] if table.ordered else []
    parts += footer(table)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def footer(table: Table) -> list[str]:
    """Return the paragraphs under a table."""
    results = table.ordered
    marks = [f"- {symbol} {mark}" for mark, symbol in notes.mark_symbols(results).items()]
    paragraphs = [
        [f"- {line}" for line in notes.measured(results)],
        [notes.varying(results)] if table.source == "runs" and results else [],
        [f"- {line}" for line in notes.falls(results)],
        [f"- {line}" for line in notes.mean_per_class(results)],
        marks,
        notes.missing(table.name, table.cells, table.results),
        notes.left_out(table.left_out),
        notes.provenance(table.results.values()),
    ]
    return [wrapped(lines) for lines in paragraphs if lines]


def main_grid(table: Table) -> Grid:
    """Return the study's arrangement of a published table."""
    layout = specs.layout_of(table.name, table.cells)
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
        runs = len({run.lineage.get("finetune_key") for r in results for run in r.runs})
        each = [(c.finetune, c.evaluate) for c in costs]
        fine = None if any(f is None for f, _ in each) else sum(f or 0.0 for f, _ in each) / len(each)
        evaluation = None if any(e is None for _, e in each) else sum(e or 0.0 for _, e in each) / len(each)
        device = ", ".join(sorted({c.device for c in costs if c.device})) or "unknown"
        cells = (duration(once) if pretrain != "none" else "0 s", duration(fine), duration(evaluation))
        rows.append((pretrain, finetune, *cells, str(runs), device))
    headers = ("pretrain", "finetune", "pre-train", "fine-tune", "evaluate", "models", "device")
    title = "Cost in device time (pre-training once; the rest: mean of one model)"
    return Grid(headers, tuple(rows), 2, title, notes=1)


def to_csv(table: Table) -> str:
    """Write every number of a table in full precision, one row a metric; missing cells name their command."""
    rows: list[list[object]] = []
    for cell in table.cells:
        result = table.results.get(cell)
        for metric in cell.metrics:
            rows.append(_csv_row(table.name, cell, metric, result))
    return comma_separated(COLUMNS, rows)


def _csv_row(table: str, cell: Cell, metric: str, result: Result | None) -> list[object]:
    place = [
        table,
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
        return [*place, unit, *[None] * empty, command_for(table, cell) if result is None else None]
    found, gain, cost = result.estimates[metric], result.gains.get(metric), result.cost
    scaled = [_scaled(v, scale) for v in (found.value, found.low, found.high)]
    gains = [_scaled(v, 100.0) for v in ((gain.value, gain.low, gain.high) if gain else (None, None, None))]
    costs = [cost.pretrain, cost.finetune, cost.evaluate, cost.device] if cost else [None] * 4
    seeds = [result.seeds, " ".join(result.varies), result.num_images] if result.runs else [None] * 3
    return [
        *[*place, unit, *scaled, found.method, _scaled(found.deviation, scale), *seeds, *gains, *costs],
        "; ".join(result.marks),
        " ".join(run.key for run in result.runs),
        " ".join(commits(result.runs)),
        None,
    ]


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def to_latex(table: Table) -> str:
    """Write a table for a paper; what it came from stands in comments."""
    results = table.ordered
    facts = [*notes.measured(results), *notes.provenance(table.results.values())]
    comments = "".join(f"% {line}\n" for line in facts)
    grid = quickstart.grid(results) if table.name == "quickstart" else main_grid(table)
    sentence = title(table).split(": ", 1)[1]
    note = quickstart.caption(results) if table.name == "quickstart" else UNITS
    caption = f"{sentence[0].upper()}{sentence[1:]}. {note}"
    return comments + latex(grid, caption=caption, label=f"tab:{table.name}")
