"""Ours beside the published numbers, and paired tests between models on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robust_transfer.core import statistics
from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import Result, image_values
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run, commits
from robust_transfer.report.output.formats import (
    Grid,
    comma_separated,
    interval_text,
    markdown,
    metric_text,
    wrapped,
)
from robust_transfer.report.output.listing import model_text
from robust_transfer.report.study import specs
from robust_transfer.report.study.probes import linear_probes, probes_csv, probes_grid
from robust_transfer.report.study.tables import Table, build

MODEL = ("table", "dataset", "shots", "pretrain", "finetune", "sigma", "metric")
BESIDE = (*MODEL, "published", "ours", "low", "high")
TESTS = (*MODEL, "test", "difference", "low", "high", "p", "p_holm")


@dataclass(frozen=True)
class Test:
    """A paired test of a model against another one on the same images.

    difference, low, high : in the metric's own unit (fractions; radii for acr)
    p_holm : adjusted over the targets of one model and metric, or over the metrics of a pair
    """

    cell: Cell
    metric: str
    name: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    runs: tuple[Run, Run]


def beside_grid(tables: Mapping[str, Table]) -> Grid:
    """Return our numbers beside the published ones, wherever there are ours."""
    rows = []
    for table, cell, metric, result, value in _pairs(tables):
        found = result.estimates[metric]
        scale = 1.0 if metric == "acr" else 100.0
        signed = f"{scale * (found.value - value):+.{3 if metric == 'acr' else 1}f}"
        inside = (
            ""
            if found.low is None or found.high is None
            else "yes"
            if found.low <= value <= found.high
            else "no"
        )
        interval = interval_text(metric, found.low, found.high)
        name = (table, cell.target, _model(cell), TITLES[metric])
        rows.append(
            (*name, metric_text(metric, value), metric_text(metric, found.value), interval, signed, inside)
        )
    headers = ("table", "dataset", "model", "metric", "published", "ours", "95 %", "difference", "inside")
    return Grid(headers, tuple(rows), 4, "Ours beside published (SA, RA in %, ACR in L2)")


def _model(cell: Cell) -> str:
    sigma = "" if cell.sigma is None else f" σ={cell.sigma:g}"
    return f"{cell.pretrain}>{cell.finetune}{sigma}"


def _place(table: str, cell: Cell, metric: str) -> tuple[object, ...]:
    return (table, cell.dataset, cell.shots, cell.pretrain, cell.finetune, cell.sigma, metric)


def beside_csv(tables: Mapping[str, Table]) -> str:
    """Write our numbers beside the published ones in full precision."""
    rows: list[list[object]] = []
    for table, cell, metric, result, value in _pairs(tables):
        found, scale = result.estimates[metric], 1.0 if metric == "acr" else 100.0
        numbers = [None if v is None else v * scale for v in (value, found.value, found.low, found.high)]
        origin = (" ".join(run.key for run in result.runs), " ".join(commits(result.runs)))
        rows.append([*_place(table, cell, metric), *numbers, *origin])
    return comma_separated((*BESIDE, "stages", "commit"), rows)


def _pairs(tables: Mapping[str, Table]) -> list[tuple[str, Cell, str, Result, float]]:
    return [
        (name, cell, metric, tables[name].results[cell], value)
        for name, cells in published.results().items()
        for cell, values in cells.items()
        if cell in tables[name].results
        for metric, value in values.items()
        if metric in tables[name].results[cell].estimates
    ]


def paired_tests(table: Table) -> list[Test]:
    """Test every pre-training of a table against none on each target, with Holm over the targets.

    Of several seeds the first of each cell is compared: a test over images knows no seeds.
    """
    families: dict[tuple[str, str, float | None, str], list[Test]] = {}
    for cell in table.cells:
        ours, none = table.results.get(cell), table.results.get(cell.reference)
        if cell.pretrain == "none" or ours is None or none is None:
            continue
        for metric in ours.estimates.keys() & none.estimates.keys():
            test = compare_runs(ours.runs[0], none.runs[0], metric)
            families.setdefault((cell.finetune, cell.pretrain, cell.sigma, metric), []).append(test)
    adjusted = []
    for (*_, metric), tests in sorted(families.items(), key=lambda item: list(TITLES).index(item[0][3])):
        p_values = statistics.holm([test.p for test in tests])
        adjusted += [_with_holm(test, metric, p) for test, p in zip(tests, p_values, strict=True)]
    return adjusted


def _with_holm(test: Test, metric: str, p_holm: float) -> Test:
    return replace(test, metric=metric, p_holm=p_holm)


def compare_runs(first: Run, second: Run, metric: str) -> Test:
    """Test one metric between two evaluations of the same images: McNemar, or a paired bootstrap for ACR.

    Raises
    ------
    EvaluationError : the two have other images, or one lacks the metric
    """
    values = image_values([first, second]).get(metric)
    if values is None:
        raise EvaluationError(f"{first.key} and {second.key} have no {TITLES[metric]} both")
    a, b = values
    difference, low, high, p = statistics.paired_bootstrap(a, b)
    name = "paired bootstrap"
    if metric != "acr":
        name, p = "McNemar exact", statistics.mcnemar(a > 0, b > 0)[2]
    return Test(first.cell, metric, name, difference, low, high, p, p, (first, second))


def compare_pair(first: Run, second: Run) -> list[Test]:
    """Test every common metric between two evaluations, with Holm over the metrics."""
    if (first.dataset, first.evaluator) != (second.dataset, second.evaluator):
        raise EvaluationError(
            f"{first.path.name} and {second.path.name} measure different things",
            "compare two evaluations of one kind on one data set",
        )
    metrics = [m for m in TITLES if first.metrics.get(m) is not None and second.metrics.get(m) is not None]
    tests = [compare_runs(first, second, metric) for metric in metrics]
    adjusted = statistics.holm([test.p for test in tests]) if tests else []
    return [_with_holm(test, test.metric, p) for test, p in zip(tests, adjusted, strict=True)]


def tests_grid(tests: Sequence[Test], title: str) -> Grid:
    """Return paired tests as a grid."""
    rows = []
    for test in tests:
        scale, digits = (1.0, 3) if test.metric == "acr" else (100.0, 1)
        numbers = [f"{scale * value:+.{digits}f}" for value in (test.difference, test.low, test.high)]
        text = f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
        names = (test.cell.target, _model(test.cell), TITLES[test.metric], test.name)
        rows.append((*names, text, f"{test.p:.2g}", f"{test.p_holm:.2g}"))
    headers = ("dataset", "model", "metric", "test", "difference [95 %]", "p", "p (Holm)")
    return Grid(headers, tuple(rows), 4, title)


def tests_csv(tables: Mapping[str, Sequence[Test]]) -> str:
    """Write paired tests in full precision, by the table they belong to; a pair's to none."""
    rows = []
    for table, t in ((table, test) for table, tests in tables.items() for test in tests):
        origin = (f"{t.runs[0].key} {t.runs[1].key}", " ".join(commits(t.runs)))
        numbers = (t.difference, t.low, t.high, t.p, t.p_holm)
        rows.append((*_place(table, t.cell, t.metric), t.name, *numbers, *origin))
    return comma_separated((*TESTS, "stages", "commit"), rows)


def store_files(index: Index) -> dict[str, str]:
    """Return the files of `rt-report compare`: Markdown first, then both tables as CSV."""
    tables = {name: build(name, "runs", index) for name in specs.NAMES}
    ours = {name: tables[name] for name in published.TABLES}
    tests = _new_tests(tables)
    used = {run.key: run for table in tables.values() for r in table.results.values() for run in r.runs}
    beside = beside_grid(ours)
    parts = [markdown(beside) if beside.rows else "No run stands in a published table yet.\n"]
    for name, found in tests.items():
        title = f"Table {name}: against no pre-training, on the same images; Holm over the targets"
        parts.append(markdown(tests_grid(found, title)))
    if tests:
        parts.append("Of several seeds, the first is tested; what stands in several tables, in the first.\n")
    probes = linear_probes(index)
    if probes:
        parts.append(markdown(probes_grid(probes)))
        used |= {probe.run.key: probe.run for probe in probes}
    origin = [f"commit: {', '.join(commits(used.values())) or 'none'}", f"stages: {' '.join(used) or 'none'}"]
    parts.append(wrapped(origin) + "\n")
    files = {
        "compare.md": "\n".join(parts),
        "compare.csv": beside_csv(ours),
        "paired-tests.csv": tests_csv(tests),
    }
    return files | ({"linear-probes.csv": probes_csv(probes)} if probes else {})


def _new_tests(tables: Mapping[str, Table]) -> dict[str, list[Test]]:
    """Test the models of every table; those that stand in several tables only in the first."""
    found: dict[str, list[Test]] = {}
    done: set[tuple[str, ...]] = set()
    for name, table in tables.items():
        tests = {(t.metric, *(run.key for run in t.runs)): t for t in paired_tests(table)}
        if fresh := [test for what, test in tests.items() if what not in done]:
            found[name] = fresh
        done |= tests.keys()
    return found


def pair_files(first: Run, second: Run) -> dict[str, str]:
    """Return the files of `rt-report compare KEY KEY`."""
    tests = compare_pair(first, second)
    title = f"{first.key} ({model_text(first.lineage)}) minus {second.key} ({model_text(second.lineage)})"
    parts = [markdown(tests_grid(tests, title)), discordance(first, second), ""]
    text = "\n".join([*parts, f"commit: {', '.join(commits([first, second]))}\n"])
    stem = f"compare-{first.key}-{second.key}"
    return {f"{stem}.md": text, f"{stem}.csv": tests_csv({"": tests})}


def discordance(first: Run, second: Run) -> str:
    """Say on how many images only one of two models is right."""
    values = image_values([first, second])["sa"]
    only_first, only_second, _ = statistics.mcnemar(values[0] > 0, values[1] > 0)
    both = int(np.sum((values[0] > 0) & (values[1] > 0)))
    n = values.shape[1]
    return f"right of {n}: both {both}, only {first.key} {only_first}, only {second.key} {only_second}"
