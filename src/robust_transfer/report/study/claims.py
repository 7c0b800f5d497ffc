"""Every sentence of the study with a number, judged by runs, or recomputed from its own tables.

A published number is itself a measurement: what is judged is the difference between ours and it, with the
sampling errors of both. It agrees where the difference is shown to be smaller than a margin (two one-sided
tests at 5 %), differs where the difference is shown not to be 0, and is otherwise inconclusive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from robust_transfer.core import statistics
from robust_transfer.core.statistics import Z90, Z95
from robust_transfer.data import catalogue
from robust_transfer.report.analysis.averages import fit_gains, over_sets
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.published import PublishedClaim
from robust_transfer.report.study import registry
from robust_transfer.report.study.tables import Table, build
from robust_transfer.report.study.wording import percent

AGREES, DIFFERS, INCONCLUSIVE, UNKNOWN = "agrees", "differs", "inconclusive", "not enough runs"
# The tables are rounded to 0.1 points: what is recomputed from them may differ by that much, and by the
# rounding of the claim itself.
TOLERANCE = {"gain": 0.15, "r2": 0.015}
MARGIN = {"gain": 5.0, "r2": 0.1}  # points of relative gain; R squared
CERTIFIED_IMAGES = 500


@dataclass(frozen=True)
class Verdict:
    """A claim, its estimate, and the verdict. Gains in percent, R^2 as such.

    low, high : for these sets from runs; for sets like these from published numbers
    notices : tags and warnings of the runs
    """

    claim: str
    published: float
    value: float | None
    low: float | None
    high: float | None
    verdict: str
    detail: str
    notices: tuple[str, ...] = ()


def tables_needed(source: str, index: Index) -> dict[str, Table]:
    """Build the tables that claims are about."""
    captioned = [spec.name for spec in registry.tables().values() if spec.improves_all]
    names = dict.fromkeys([*(claim.table for claim in published.claims()), *captioned])
    return {name: build(name, source, index) for name in names}


def verdicts(tables: Mapping[str, Table]) -> list[Verdict]:
    """Judge every claim by tables (by name), all of one source."""
    judged = [_check_number(claim, tables[claim.table]) for claim in published.claims()]
    for table in (table for table in tables.values() if table.spec.improves_all):
        pretrains = dict.fromkeys(cell.pretrain for cell in table.cells if cell.pretrain != "none")
        metrics = table.cells[0].metrics
        judged += [_check_all_sets(table, pretrain, metric) for pretrain in pretrains for metric in metrics]
    return judged


# ---------------------------------------------------------------- numbers


def _check_number(claim: PublishedClaim, table: Table) -> Verdict:
    kind, metric = _kind(claim.name)
    cells = [cell for cell in table.cells if cell.pretrain == claim.pretrain]
    results = [table.results[cell] for cell in cells if metric in _gains(table, cell)]
    notices = _notices(table, cells)
    if len(results) < (3 if kind == "r2" else 1):
        gap = _missing_runs(table, cells, metric)
        return Verdict(claim.name, claim.value, None, None, None, UNKNOWN, gap, notices)
    estimate = _fit(results, metric) if kind == "r2" else _mean(results, metric, table.source)
    if len(results) < len(cells):
        judged = UNKNOWN, _missing_runs(table, cells, metric)
    elif table.source == "published":
        within = abs(estimate.value - claim.value) <= TOLERANCE[kind]
        judged = AGREES if within else DIFFERS, "recomputed from the published table"
    elif estimate.low is None or estimate.high is None:
        judged = UNKNOWN, "the sets share no seeds"
    elif kind == "r2":
        judged = _judged_fit(claim.value, estimate.low, estimate.high)
    else:
        judged = _judged_gain(claim.value, estimate, _published_error(results, metric))
    return Verdict(claim.name, claim.value, estimate.value, estimate.low, estimate.high, *judged, notices)


def _mean(results: Sequence[Result], metric: str, source: str) -> Estimate:
    mean = over_sets(results, metric, "gains")
    bounds = (mean.low, mean.high) if source == "runs" else (mean.like_low, mean.like_high)
    low, high = (None if bound is None else 100 * bound for bound in bounds)
    return Estimate(100 * mean.value, low, high)


def _fit(results: Sequence[Result], metric: str) -> Estimate:
    """Return R squared with Fisher's interval over sets like these."""
    r2 = fit_gains(results, metric).r2
    z, half = math.atanh(min(math.sqrt(r2), 1 - 1e-12)), Z95 / math.sqrt(max(1, len(results) - 3))
    return Estimate(r2, math.tanh(max(0.0, z - half)) ** 2, math.tanh(z + half) ** 2)


def _judged_fit(claimed: float, low: float, high: float) -> tuple[str, str]:
    margin, rounding = MARGIN["r2"], 0.005
    agrees = claimed - margin <= low and high <= claimed + margin
    differs = not low - rounding <= claimed <= high + rounding
    return _word(agrees, differs), f"interval over sets like these; agrees within {margin:g}"


def _judged_gain(claimed: float, ours: Estimate, published_error: float) -> tuple[str, str]:
    assert ours.low is not None and ours.high is not None
    direction = "above 0" if ours.low > 0 else "below 0" if ours.high < 0 else "not distinct from 0"
    error = math.hypot((ours.high - ours.low) / (2 * Z95), published_error)
    gap, half, rounding = ours.value - claimed, Z95 * error, 0.05
    agrees, differs = abs(gap) + Z90 * error <= MARGIN["gain"], abs(gap) > half + rounding
    interval = f"{gap:+.1f} [{gap - half:+.1f}, {gap + half:+.1f}]"
    says = f"ours is {direction}; ours minus published {interval}, agrees within {MARGIN['gain']:g} points"
    return _word(agrees, differs), says


def _word(agrees: bool, differs: bool) -> str:
    return AGREES if agrees else DIFFERS if differs else INCONCLUSIVE


def _published_error(results: Sequence[Result], metric: str) -> float:
    """Return the standard error of a published mean gain in percent, of models on independent images.

    Tables print no error of ACR: that of RA stands for it.
    """
    cells = published.all_cells()
    metric = "ra" if metric == "acr" else metric
    total = 0.0
    for result in results:
        ours, reference = cells[result.cell][metric], cells[result.cell.reference][metric]
        n = images_published(result.cell)
        total += (ours / reference) ** 2 * ((1 - ours) / (n * ours) + (1 - reference) / (n * reference))
    return 100 * math.sqrt(total) / len(results)


def images_published(cell: Cell) -> int:
    """Return the test images behind a published number: 500 certified, else the test set."""
    whole = catalogue.get(cell.dataset).test if cell.sigma is None else None
    return whole or CERTIFIED_IMAGES


def sized(result: Result) -> Result:
    """Return a result with its number of images, of a published one what the study states."""
    return result if result.num_images else replace(result, num_images=images_published(result.cell))


# ---------------------------------------------------------------- "all target tasks improve"


def _check_all_sets(table: Table, pretrain: str, metric: str) -> Verdict:
    """Judge that all sets improve: agrees if each is shown to rise, differs if one is shown to fall."""
    cells = [cell for cell in table.cells if cell.pretrain == pretrain]
    differences = {cell: table.results[cell].differences for cell in cells if cell in table.results}
    changes = {cell: by_metric[metric] for cell, by_metric in differences.items() if metric in by_metric}
    falling = [cell for cell, change in changes.items() if change.value < 0]
    equal = [cell.target for cell, change in changes.items() if change.value == 0]
    falls, all_rise = _shown(table, changes)
    texts = [f"{cell.target} {_gain_text(_gains(table, cell).get(metric))}" for cell in falling]
    details = [f"falls: {', '.join(texts)}" if falling else "no set falls"]
    details += [f"no change: {', '.join(equal)}"] if equal else []
    details += [f"shown to fall: {', '.join(falls) or 'none'}"] if table.source == "runs" and changes else []
    complete = len(changes) == len(cells)
    details += [] if complete else [_missing_runs(table, cells, metric)]
    verdict = DIFFERS if falls else UNKNOWN if not complete else AGREES if all_rise else INCONCLUSIVE
    improving = float(len(changes) - len(falling) - len(equal)) if changes else None
    name = f"all_sets_improve_{table.spec.name}_{pretrain}_{metric}"
    numbers = (float(len(cells)), improving, None, None)
    return Verdict(name, *numbers, verdict, "; ".join(details), _notices(table, cells))


def _shown(table: Table, changes: Mapping[Cell, Estimate]) -> tuple[list[str], bool]:
    """Return the sets shown to fall, Holm-adjusted over sets, and whether every set is shown to rise.

    Published numbers are taken as printed.
    """
    if table.source == "published":
        not_rising = [cell.target for cell, change in changes.items() if change.value <= 0]
        return not_rising, not not_rising
    adjusted = statistics.holm([1.0 if change.p is None else change.p for change in changes.values()])
    falls = [
        cell.target
        for (cell, change), p in zip(changes.items(), adjusted, strict=True)
        if change.value < 0 and p < 1 - statistics.LEVEL
    ]
    # That each of them rises needs no adjustment: an intersection-union test.
    return falls, all(change.low is not None and change.low > 0 for change in changes.values())


def _gain_text(gain: Estimate | None) -> str:
    if gain is None:
        return "(without pre-training not distinct from 0)"
    bounds = (percent(gain.low, signed=True), percent(gain.high, signed=True))
    interval = "" if gain.low is None else f" [{bounds[0]}, {bounds[1]}]"
    return f"{percent(gain.value, signed=True)} %{interval}"


# ---------------------------------------------------------------- available results


def _gains(table: Table, cell: Cell) -> Mapping[str, Estimate]:
    result = table.results.get(cell)
    return result.gains if result else {}


def _notices(table: Table, cells: Sequence[Cell]) -> tuple[str, ...]:
    needed = {c for cell in cells for c in (cell, cell.reference)}
    return tuple(sorted({n for c in needed if c in table.results for n in table.results[c].notices}))


def _missing_runs(table: Table, cells: Sequence[Cell], metric: str) -> str:
    available = [cell for cell in cells if metric in _gains(table, cell)]
    absent = [c for cell in cells for c in (cell, cell.reference) if c not in table.results]
    commands = table.spec.commands(absent)
    text = f"{TITLES[metric]} gain known for {len(available)} of {len(cells)} sets"
    return f"{text}; run: {'; '.join(commands)}" if commands else text


def _kind(name: str) -> tuple[str, str]:
    """Tell whether a published claim is a mean gain or an R^2, and of which metric."""
    if match := re.search(r"_mean_rel_(sa|ra|acr)$", name):
        return "gain", match[1]
    if match := re.search(r"_r2(?:_sa_(ra|acr))?$", name):
        return "r2", match[1] or "ra"
    raise AssertionError(f"published claim {name} has an unknown form")


def runs_of(tables: Mapping[str, Table]) -> list[Run]:
    """Return every run behind some tables, once."""
    results: list[Result] = [result for table in tables.values() for result in table.results.values()]
    return list({run.key: run for result in results for run in result.runs}.values())
