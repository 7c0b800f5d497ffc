"""What the miniature study found, in sentences: means over targets with their 95 % intervals.

A gain is relative to no pre-training and explodes where that is near chance; a difference in points does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robust_transfer.report.analysis.averages import fit_gains, mean_gain
from robust_transfer.report.analysis.estimates import Estimate
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.index.collect import Run
from robust_transfer.report.study import mini_study
from robust_transfer.report.study.comparisons import (
    DIFFERENCE,
    GAIN,
    Comparison,
    last_layer,
    plain_last_layer,
    pretrainings,
)
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import percent

INTERVALS = (
    "Intervals are 95 %; they resample seeds and test images, not targets: they do not cover other data sets."
)
IMPROVES, LOWERS, UNCLEAR = "improves", "lowers", "no clear change"
VERBS = {IMPROVES: IMPROVES, LOWERS: LOWERS, UNCLEAR: "makes no clear change to"}


@dataclass(frozen=True)
class Finding:
    """A number in `unit`, what it says, and the runs behind it.

    low, high : None for counts
    verdict : whether the interval excludes 0; empty where that asks nothing
    """

    finding: str
    value: float
    low: float | None
    high: float | None
    unit: str
    method: str
    verdict: str
    targets: int
    sentence: str
    runs: tuple[Run, ...]


def findings(tables: Mapping[str, Table]) -> list[Finding]:
    """Return every finding that the runs of the miniature's tables allow."""
    known = {cell: result for table in tables.values() for cell, result in table.results.items()}
    found: list[Finding] = []
    for track in mini_study.TRACKS:
        metrics = mini_study.metrics(track)
        for pretrain in (track, "simclr", "st"):
            against = pretrainings(known, track, pretrain, "none")
            found += [finding for metric in metrics for finding in _means(against, metric, gains=True)]
            found += [finding for metric in metrics[1:] for finding in _fits(against, metric)]
            found += _directions(against)
        found += _means(pretrainings(known, track, track, "st"), "ra")
        found += _means(pretrainings(known, track, "simclr", track), "ra")
    return [*found, *_means(last_layer(known), "ra"), *_level(plain_last_layer(known), "sa")]


def _means(compared: Comparison, metric: str, *, gains: bool = False) -> list[Finding]:
    """Return the mean difference in a metric, and the mean relative gain over the targets that have one."""
    results = compared.results(DIFFERENCE, metric)
    if not results:
        return []
    unit, scale = ("L2", 1.0) if metric == "acr" else ("points", 100.0)
    mean = mean_gain(results, metric)
    says = f"{compared.subject} {VERBS[_verdict(mean)]} {TITLES[metric]}: {_text(mean, unit)}"
    found = [(DIFFERENCE, mean, scale, unit, len(results))]
    relative = compared.results(GAIN, metric) if gains else []
    if relative:
        mean = mean_gain(relative, metric)
        says += f"; mean relative gain {_text(mean, '%')}, {_verdict(mean)}{_left_out(mean)}"
        found.append((GAIN, mean, 100.0, "%", len(relative)))
    without = [r.cell.target for r in results if r.cell not in {other.cell for other in relative}]
    if gains and without:
        says += f", undefined on {len(without)} ({', '.join(without)}), where none has 0"
    return [
        _finding(compared, f"{metric}_{measure}", mean, scale, unit, count, says, _verdict(mean))
        for measure, mean, scale, unit, count in found
    ]


def _fits(compared: Comparison, metric: str) -> list[Finding]:
    """Return how much of the change in a metric the change in SA explains, over targets."""
    found, texts = [], []
    for measure in (GAIN, DIFFERENCE):
        results = compared.results(measure, metric)
        fit = fit_gains(results, metric) if len(results) >= 3 else None
        if fit is not None and np.isfinite(fit.line.r2):
            found.append((measure, Estimate(fit.line.r2, fit.low, fit.high, fit.method), len(results)))
            interval = f"{fit.line.r2:.2f} [{fit.low:.2f}, {fit.high:.2f}] over {len(results)} targets"
            texts.append(f"R² of the {measure} in {TITLES[metric]} on that in SA is {interval}")
    mechanical = f"in part mechanical, as SA and {TITLES[metric]} are measured on the same images"
    says = f"{compared.subject}: {'; '.join(texts)}; {mechanical}"
    return [_finding(compared, f"{metric}_on_sa_{m}_r2", r2, 1.0, "R2", n, says) for m, r2, n in found]


def _directions(compared: Comparison) -> list[Finding]:
    """Return on how many targets RA rises, and falls, by an interval of its own."""
    results = compared.results(DIFFERENCE, "ra")
    verdicts = [(_verdict(result.gains["ra"]), result.cell.target) for result in results]
    found = {
        word: [target for verdict, target in verdicts if verdict == wanted]
        for word, wanted in (("rises", IMPROVES), ("falls", LOWERS))
    }
    rising, falling = (f"{len(t)} ({', '.join(t)})" if t else "0" for t in found.values())
    says = f"{compared.subject}: RA rises with a 95 % interval above 0 on {rising}"
    says += f", falls with one below 0 on {falling}"
    counts = {word: Estimate(float(len(t)), method="bootstrap of each target") for word, t in found.items()}
    return [
        _finding(compared, f"ra_{word}", count, 1.0, "targets", len(results), says)
        for word, count in counts.items()
        if results
    ]


def _level(compared: Comparison, metric: str) -> list[Finding]:
    """Return the mean of a metric itself, which is compared with nothing."""
    results = [replace(result, gains=result.estimates) for result, _ in compared.pairs]
    if not results:
        return []
    mean = mean_gain(results, metric)
    value, low, high = (percent(v) for v in (mean.value, mean.low, mean.high))
    says = f"{compared.subject} reaches {TITLES[metric]} {value} % [{low}, {high}]"
    return [_finding(compared, metric, mean, 100.0, "%", len(results), says)]


def _finding(
    compared: Comparison,
    name: str,
    found: Estimate,
    scale: float,
    unit: str,
    targets: int,
    says: str,
    verdict: str = "",
) -> Finding:
    low, high = (None if bound is None else scale * bound for bound in (found.low, found.high))
    place = (f"{compared.name}_{name}", scale * found.value, low, high, unit, found.method)
    return Finding(*place, verdict, targets, f"{says} ({compared.scope}).", compared.runs)


def _left_out(mean: Estimate) -> str:
    """Say in how many resamples a gain is relative to 0: its interval comes out too narrow then."""
    share = 0.0 if mean.samples is None else float(np.mean(~np.isfinite(mean.samples)))
    return f" ({percent(share)} % of the resamples left out, where none has 0)" if share else ""


def _verdict(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return UNCLEAR
    return IMPROVES if found.low > 0 else LOWERS if found.high < 0 else UNCLEAR


def _text(found: Estimate, unit: str) -> str:
    bounds = (found.value, found.low, found.high)
    texts = [f"{v:+.3f}" if unit == "L2" and v is not None else percent(v, signed=True) for v in bounds]
    return f"{texts[0]} {unit} [{texts[1]}, {texts[2]}]"


def sentences(found: Sequence[Finding]) -> list[str]:
    """Return the sentences once each: some hold two numbers."""
    return list(dict.fromkeys(finding.sentence for finding in found))
