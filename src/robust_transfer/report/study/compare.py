"""Paired tests between models on the same images: the test that the interval of the difference inverts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from robust_transfer.core import statistics
from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.samples import samples
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Run
from robust_transfer.report.index.records import check_images
from robust_transfer.report.study.tables import Table


@dataclass(frozen=True)
class Test:
    """A paired test of models against others on the same images and seeds.

    difference, low, high : in the metric's own unit (fractions; radii for acr)
    p_holm : adjusted over all tests of a page
    pretrainings, seeds : independent units behind the difference
    notices : tags and warnings of the runs
    """

    cell: Cell
    metric: str
    name: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    pretrainings: int
    seeds: int
    notices: tuple[str, ...]
    runs: tuple[Run, ...]


def paired_tests(tables: Mapping[str, Table]) -> dict[str, list[Test]]:
    """Test every pre-training of every table against none on each target, with Holm over all tests.

    A pair that is in several tables is tested in the first.
    """
    by_table: dict[str, list[Test]] = {}
    done: set[tuple[str, ...]] = set()
    for name, table in tables.items():
        for test in _tests(table):
            pair = (test.metric, *(run.key for run in test.runs))
            if pair not in done:
                by_table.setdefault(name, []).append(test)
                done.add(pair)
    adjusted = iter(_with_holm([test for tests in by_table.values() for test in tests]))
    return {name: [next(adjusted) for _ in tests] for name, tests in by_table.items()}


def _tests(table: Table) -> list[Test]:
    tests = []
    for metric in TITLES:
        for result in table.ordered:
            change = result.differences.get(metric)
            if change is None or change.sample is None or change.p is None:
                continue
            assert change.low is not None and change.high is not None
            reference = table.results[result.cell.reference]
            numbers = (change.value, change.low, change.high, change.p, change.p)
            units = (len(change.sample.grid.pretrainings), len(change.sample.grid.replicates))
            notices = tuple(sorted({*result.notices, *reference.notices}))
            runs = (*result.runs, *reference.runs)
            tests.append(Test(result.cell, metric, change.method, *numbers, *units, notices, runs))
    return tests


def _with_holm(tests: list[Test]) -> list[Test]:
    p_values = statistics.holm([test.p for test in tests])
    return [replace(test, p_holm=p) for test, p in zip(tests, p_values, strict=True)]


def compare_pair(first: Run, second: Run) -> list[Test]:
    """Test every common metric between two models, with Holm over the metrics.

    Raises
    ------
    EvaluationError : the two measure different things, or hold different images
    """
    if (first.dataset, first.evaluator) != (second.dataset, second.evaluator):
        raise EvaluationError(
            f"{first.path.name} and {second.path.name} measure different things",
            "compare two evaluations of one kind on one data set",
        )
    ours, theirs = image_values(first, second)
    tests = []
    for metric in (metric for metric in TITLES if metric in ours and metric in theirs):
        mean = crossed.mean(ours[metric] - theirs[metric])
        notices = tuple(sorted({n for run in (first, second) for n in run.notices}))
        numbers = (mean.value, mean.low, mean.high, mean.p, mean.p)
        tests.append(Test(first.cell, metric, mean.method, *numbers, 1, 1, notices, (first, second)))
    return _with_holm(tests)


def image_values(*runs: Run) -> list[dict[str, statistics.Array]]:
    """Return {metric: (1, 1, N) values} of runs of the same images, which may have any seeds."""
    values = {run.key: samples((run,)) for run in runs}
    for run in runs[1:]:
        check_images(runs[0], run)
    return [{metric: sample.values for metric, sample in values[run.key].items()} for run in runs]


def discordance(first: Run, second: Run) -> str:
    """Count the images that both models, or only one of them, classify correctly."""
    one, other = (values["sa"] > 0 for values in image_values(first, second))
    counts = [int(np.sum(correct)) for correct in (one & other, one & ~other, ~one & other)]
    both, only_first, only_second = counts
    return (
        f"correct of {one.size}: both {both}, only {first.key} {only_first}, only {second.key} {only_second}"
    )
