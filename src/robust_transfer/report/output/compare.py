"""Ours beside the published numbers, and paired tests, as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.environments import ORIGIN, origin_of
from robust_transfer.report.output.formats import comma_separated, page
from robust_transfer.report.output.probes import probes_csv, probes_grid
from robust_transfer.report.study import notes, registry
from robust_transfer.report.study.blocks import Block, Grid, Paragraph
from robust_transfer.report.study.compare import Test, compare_pair, discordance, paired_tests
from robust_transfer.report.study.probes import linear_probes
from robust_transfer.report.study.tables import Table, build
from robust_transfer.report.study.wording import interval_text, metric_text, model_text, units_text

MODEL = ("table", "dataset", "shots", "pretrain", "finetune", "sigma", "metric")
BESIDE = (*MODEL, "published", "ours", "low", "high", "pretrainings", "seeds", "notices")
TESTS = (*MODEL, "test", "difference", "low", "high", "p", "p_holm", "pretrainings", "seeds", "notices")
HOLM = (
    "p (Holm) is adjusted over all tests of this page; p is below 0.05 just where the interval excludes 0. "
    "A pair that is in several tables is tested in the first."
)


def beside_grid(tables: Mapping[str, Table]) -> Grid:
    """Return our numbers beside the published ones, wherever there are ours."""
    rows = []
    for table, cell, metric, result, value in _pairs(tables):
        ours = result.estimates[metric]
        scale = 1.0 if metric == "acr" else 100.0
        signed = f"{scale * (ours.value - value):+.{3 if metric == 'acr' else 1}f}"
        inside = (
            "" if ours.low is None or ours.high is None else "yes" if ours.low <= value <= ours.high else "no"
        )
        interval = interval_text(metric, ours.low, ours.high)
        name = (table, cell.target, _model(cell), TITLES[metric])
        units = units_text(result.pretrainings, result.seeds)
        numbers = (metric_text(metric, value), metric_text(metric, ours.value), interval, signed, inside)
        rows.append((*name, *numbers, units, "; ".join(result.notices)))
    headers = ("table", "dataset", "model", "metric", "published", "ours", "95 %", "difference", "inside")
    title = "Ours beside published (SA, RA in %, ACR in L2)"
    return Grid((*headers, "units", "notices"), tuple(rows), 4, title, notes=2)


def _model(cell: Cell) -> str:
    sigma = "" if cell.sigma is None else f" σ={cell.sigma:g}"
    return f"{cell.pretrain}>{cell.finetune}{sigma}"


def _place(table: str, cell: Cell, metric: str) -> tuple[object, ...]:
    return (table, cell.dataset, cell.shots, cell.pretrain, cell.finetune, cell.sigma, metric)


def beside_csv(tables: Mapping[str, Table]) -> str:
    """Write our numbers beside the published ones in full precision."""
    rows: list[list[object]] = []
    for table, cell, metric, result, value in _pairs(tables):
        ours, scale = result.estimates[metric], 1.0 if metric == "acr" else 100.0
        numbers = [None if v is None else v * scale for v in (value, ours.value, ours.low, ours.high)]
        units = (result.pretrainings, result.seeds, "; ".join(result.notices))
        rows.append([*_place(table, cell, metric), *numbers, *units, *origin_of(result.runs)])
    return comma_separated((*BESIDE, *ORIGIN), rows)


def _pairs(tables: Mapping[str, Table]) -> list[tuple[str, Cell, str, Result, float]]:
    return [
        (name, cell, metric, tables[name].results[cell], value)
        for name, cells in published.results().items()
        for cell, values in cells.items()
        if cell in tables[name].results
        for metric, value in values.items()
        if metric in tables[name].results[cell].estimates
    ]


def tests_grid(tests: Sequence[Test], title: str) -> Grid:
    """Return paired tests as a grid."""
    rows = []
    for test in tests:
        scale, digits = (1.0, 3) if test.metric == "acr" else (100.0, 1)
        numbers = [f"{scale * value:+.{digits}f}" for value in (test.difference, test.low, test.high)]
        text = f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
        names = (test.cell.target, _model(test.cell), TITLES[test.metric])
        units = units_text(test.pretrainings, test.seeds)
        p_values = (f"{test.p:.2g}", f"{test.p_holm:.2g}")
        rows.append((*names, units, text, *p_values, "; ".join(test.notices)))
    headers = ("dataset", "model", "metric", "units", "difference [95 %]", "p", "p (Holm)", "notices")
    return Grid(headers, tuple(rows), 4, title, notes=1)


def tests_csv(tables: Mapping[str, Sequence[Test]]) -> str:
    """Write paired tests in full precision, by the table they belong to; a pair's to none."""
    rows = []
    for table, t in ((table, test) for table, tests in tables.items() for test in tests):
        numbers = (t.difference, t.low, t.high, t.p, t.p_holm, t.pretrainings, t.seeds)
        rows.append(
            (*_place(table, t.cell, t.metric), t.name, *numbers, "; ".join(t.notices), *origin_of(t.runs))
        )
    return comma_separated((*TESTS, *ORIGIN), rows)


def store_files(index: Index) -> dict[str, str]:
    """Return the files of `rt-report compare`: Markdown first, then both tables as CSV."""
    tables = {name: build(name, "runs", index) for name in registry.tables()}
    published_tables = {name: table for name, table in tables.items() if table.spec.published}
    tests = paired_tests(tables)
    used = {run.key: run for table in tables.values() for r in table.results.values() for run in r.runs}
    beside = beside_grid(published_tables)
    blocks: list[Block] = [beside if beside.rows else Paragraph(("No run stands in a published table yet.",))]
    for name, of_table in tests.items():
        title = f"Table {name}: against no pre-training, on the same images and seeds"
        blocks.append(tests_grid(of_table, title))
    if tests:
        blocks.append(Paragraph((HOLM,)))
    probes = linear_probes(index)
    if probes:
        blocks.append(probes_grid(probes))
        used |= {probe.run.key: probe.run for probe in probes}
    blocks.append(Paragraph(notes.origin(used.values()), small=True))
    files = {
        "compare.md": page(blocks),
        "compare.csv": beside_csv(published_tables),
        "paired-tests.csv": tests_csv(tests),
    }
    return files | ({"linear-probes.csv": probes_csv(probes)} if probes else {})


def pair_files(first: Run, second: Run) -> dict[str, str]:
    """Return the files of `rt-report compare KEY KEY`."""
    tests = compare_pair(first, second)
    title = f"{first.key} ({model_text(first.lineage)}) minus {second.key} ({model_text(second.lineage)})"
    origin = notes.origin([first, second])[:2]
    blocks: list[Block] = [
        tests_grid(tests, title),
        Paragraph((discordance(first, second),)),
        Paragraph(origin, small=True),
    ]
    stem = f"compare-{first.key}-{second.key}"
    return {f"{stem}.md": page(blocks), f"{stem}.csv": tests_csv({"": tests})}
