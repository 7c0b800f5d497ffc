"""Every sentence of the study with a number, recomputed: from runs, or from its own tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robust_transfer.report.analysis.averages import fit_gains, mean_gain
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.published import PublishedClaim
from robust_transfer.report.study import registry
from robust_transfer.report.study.tables import Table, build
from robust_transfer.report.study.wording import percent

HOLDS, FAILS, UNKNOWN = "holds", "fails", "not enough runs"
# The tables are rounded to 0.1 points: what is recomputed from them may differ by that much.
TOLERANCE = {"gain": 0.1, "r2": 0.01}


@dataclass(frozen=True)
class Verdict:
    """A claim, what was found, and whether it stands. Gains in percent, R^2 as such."""

    claim: str
    published: float
    value: float | None
    low: float | None
    high: float | None
    verdict: str
    detail: str


def tables_needed(source: str, index: Index) -> dict[str, Table]:
    """Build the tables that claims are about."""
    captioned = [spec.name for spec in registry.tables().values() if spec.improves_all]
    names = dict.fromkeys([*(claim.table for claim in published.claims()), *captioned])
    return {name: build(name, source, index) for name in names}


def verdicts(tables: Mapping[str, Table]) -> list[Verdict]:
    """Check every claim against tables (by name), all of one source."""
    found = [_check_number(claim, tables[claim.table]) for claim in published.claims()]
    for table in (table for table in tables.values() if table.spec.improves_all):
        pretrains = dict.fromkeys(cell.pretrain for cell in table.cells if cell.pretrain != "none")
        metrics = table.cells[0].metrics
        found += [_check_all_sets(table, pretrain, metric) for pretrain in pretrains for metric in metrics]
    return found


def _check_number(claim: PublishedClaim, table: Table) -> Verdict:
    kind, metric = _kind(claim.name)
    cells = [cell for cell in table.cells if cell.pretrain == claim.pretrain]
    results = [table.results[cell] for cell in cells if metric in _gains(table, cell)]
    least = 3 if kind == "r2" else 1
    if len(results) < least:
        return _claim(claim, None, UNKNOWN, _lacking(table, cells, metric))
    if kind == "r2":
        fit = fit_gains(results, metric)
        sampled = table.source == "runs"
        found = Estimate(fit.line.r2, fit.low if sampled else None, fit.high if sampled else None)
    else:
        mean = mean_gain(results, metric)
        found = Estimate(100 * mean.value, _hundred(mean.low), _hundred(mean.high))
    if len(results) < len(cells):
        return _claim(claim, found, UNKNOWN, _lacking(table, cells, metric))
    return _judge(claim, found, table, kind)


def _judge(claim: PublishedClaim, found: Estimate, table: Table, kind: str) -> Verdict:
    if table.source == "published":
        within = abs(found.value - claim.value) <= TOLERANCE[kind] + _rounding(kind)
        return _claim(claim, found, HOLDS if within else FAILS, "recomputed from the published table")
    assert found.low is not None and found.high is not None
    inside = found.low <= claim.value <= found.high
    direction = "above 0" if found.low > 0 else "below 0" if found.high < 0 else "not distinct from 0"
    where = "inside" if inside else "outside"
    detail = f"published value {where} the 95 % interval, which is {direction}"
    return _claim(claim, found, HOLDS if inside else FAILS, detail)


def _rounding(kind: str) -> float:
    return 0.05 if kind == "gain" else 0.005


def _check_all_sets(table: Table, pretrain: str, metric: str) -> Verdict:
    cells = [cell for cell in table.cells if cell.pretrain == pretrain]
    gains = {cell: _gains(table, cell)[metric] for cell in cells if metric in _gains(table, cell)}
    falling = [f"{cell.target} {_gain_text(gain)}" for cell, gain in gains.items() if gain.value < 0]
    equal = [cell.target for cell, gain in gains.items() if gain.value == 0]
    name = f"all_sets_improve_{table.spec.name}_{pretrain}_{metric}"
    detail = f"falls: {', '.join(falling)}" if falling else "no set falls"
    detail += f"; no change: {', '.join(equal)}" if equal else ""
    if len(gains) < len(cells):
        detail += "; " + _lacking(table, cells, metric)
    # One set that does not improve refutes the claim; that none of some sets falls does not prove it.
    verdict = FAILS if falling or equal else HOLDS if len(gains) == len(cells) else UNKNOWN
    improving = float(len(gains) - len(falling) - len(equal)) if gains else None
    return Verdict(name, float(len(cells)), improving, None, None, verdict, detail)


def _gain_text(gain: Estimate) -> str:
    interval = (
        "" if gain.low is None else f" [{percent(gain.low, signed=True)}, {percent(gain.high, signed=True)}]"
    )
    return f"{percent(gain.value, signed=True)} %{interval}"


def _gains(table: Table, cell: Cell) -> Mapping[str, Estimate]:
    result = table.results.get(cell)
    return result.gains if result else {}


def _lacking(table: Table, cells: Sequence[Cell], metric: str) -> str:
    there = [cell for cell in cells if metric in _gains(table, cell)]
    wanted = [c for cell in cells for c in (cell, cell.reference) if c not in table.results]
    commands = table.spec.commands(wanted)
    text = f"{TITLES[metric]} gain known for {len(there)} of {len(cells)} sets"
    return f"{text}; run: {'; '.join(commands)}" if commands else text


def _kind(name: str) -> tuple[str, str]:
    """Tell whether a published claim is a mean gain or an R^2, and of which metric."""
    if match := re.search(r"_mean_rel_(sa|ra|acr)$", name):
        return "gain", match[1]
    if match := re.search(r"_r2(?:_sa_(ra|acr))?$", name):
        return "r2", match[1] or "ra"
    raise AssertionError(f"published claim {name} has an unknown form")


def _claim(claim: PublishedClaim, found: Estimate | None, verdict: str, detail: str) -> Verdict:
    low, high = (found.low, found.high) if found else (None, None)
    return Verdict(claim.name, claim.value, found.value if found else None, low, high, verdict, detail)


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def runs_of(tables: Mapping[str, Table]) -> list[Run]:
    """Return every run behind some tables, once."""
    results: list[Result] = [result for table in tables.values() for result in table.results.values()]
    return list({run.key: run for result in results for run in result.runs}.values())
