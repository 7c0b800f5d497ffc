"""Paired tests between models on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from robust_transfer.core import statistics
from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import image_values
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Run
from robust_transfer.report.study.tables import Table


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


def new_tests(tables: Mapping[str, Table]) -> dict[str, list[Test]]:
    """Test the models of every table; those that stand in several tables only in the first."""
    found: dict[str, list[Test]] = {}
    done: set[tuple[str, ...]] = set()
    for name, table in tables.items():
        tests = {(t.metric, *(run.key for run in t.runs)): t for t in paired_tests(table)}
        if fresh := [test for what, test in tests.items() if what not in done]:
            found[name] = fresh
        done |= tests.keys()
    return found


def discordance(first: Run, second: Run) -> str:
    """Say on how many images only one of two models is right."""
    values = image_values([first, second])["sa"]
    only_first, only_second, _ = statistics.mcnemar(values[0] > 0, values[1] > 0)
    both = int(np.sum((values[0] > 0) & (values[1] > 0)))
    n = values.shape[1]
    return f"right of {n}: both {both}, only {first.key} {only_first}, only {second.key} {only_second}"
