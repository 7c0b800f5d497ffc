"""What the study on real photographs found, in sentences.

Means over data sets with calibrated 95 % intervals. Differences in points come first: a gain relative to no
pre-training explodes where that is near chance, and is left out on targets where it is not shown to exceed 0.
Six contrasts were fixed before the run: their verdicts are Holm-adjusted over the six, and each says what
follows for the table of the paper that it answers. All else is exploratory and has no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from robust_transfer.core import statistics
from robust_transfer.report.analysis.averages import SetsMean, over_sets
from robust_transfer.report.analysis.conditional import conditional, mechanical_r2
from robust_transfer.report.analysis.equivalence import MARGIN
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Run
from robust_transfer.report.study import natural
from robust_transfer.report.study.comparisons import (
    Comparison,
    last_layer,
    plain_last_layer,
    pretrainings,
)
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import percent

INTERVALS = (
    "Intervals are 95 %, over test images and replicates of these data sets; in braces those of the mean of "
    "sets like these. Verdicts are given of the contrasts that were fixed before the run, adjusted by Holm."
)
IMPROVES, LOWERS, MIXED, UNCLEAR = "improves", "lowers", "differs between sets", "no clear change"
VERBS = {
    IMPROVES: "improves",
    LOWERS: "lowers",
    MIXED: "changes, with signs that differ between sets,",
    UNCLEAR: "makes no clear change to",
}
EXPLORED = "changes"  # the verb where no verdict is given


@dataclass(frozen=True)
class Finding:
    """A number in `unit`, what it says, and the runs behind it.

    low, high : for these sets; None for counts
    like_low, like_high : for the mean of sets like these
    p : None where nothing is tested
    p_holm, verdict : of contrasts fixed before the run, None and "" of all else
    answers : the paper's table that a contrast fixed before the run speaks to
    sentence : has {verb} where the verdict goes
    """

    finding: str
    value: float
    low: float | None
    high: float | None
    like_low: float | None
    like_high: float | None
    unit: str
    method: str
    p: float | None
    p_holm: float | None
    verdict: str
    targets: int
    sentence: str
    notices: tuple[str, ...]
    runs: tuple[Run, ...]
    answers: str = ""


def findings(tables: Mapping[str, Table]) -> list[Finding]:
    """Return every finding that the runs of its tables allow."""
    results = {cell: result for table in tables.values() for cell, result in table.results.items()}
    rows = [finding for track in natural.TRACKS for finding in _fixed(results, track)]
    for track in natural.TRACKS:
        metrics = natural.metrics(track)
        for pretrain in (track, "simclr", "st"):
            comparison = pretrainings(results, track, pretrain, "none")
            rows += [finding for metric in metrics for finding in _means(comparison, metric, gains=True)]
            rows += _conditional(comparison) + _explained(comparison)
        rows += _means(pretrainings(results, track, "simclr", track), "ra")
    rows += [*_means(last_layer(results), "ra"), *_level(plain_last_layer(results), "sa")]
    fixed = {finding.finding for finding in rows if finding.answers}
    return _judged([f for f in rows if f.answers or f.finding not in fixed])


def _fixed(results: Mapping[Cell, Result], track: str) -> list[Finding]:
    """Return a track's contrasts that were fixed before the run, each with the table that it answers."""
    improves = {"at": "Table 2", "cr": "Table 3"}[track]
    contrasts = ((track, "none", improves), ("simclr", "none", improves), (track, "st", "Table 4"))
    return [
        replace(finding, answers=table)
        for pretrain, other, table in contrasts
        for finding in _means(pretrainings(results, track, pretrain, other), "ra")
    ]


def _judged(findings: Sequence[Finding]) -> list[Finding]:
    """Give the contrasts that were fixed before the run their adjusted p-values, verdicts and answers."""
    adjusted = iter(statistics.holm([f.p for f in findings if f.answers and f.p is not None]))
    judged = []
    for finding in findings:
        if not finding.answers or finding.p is None:
            sentence = finding.sentence.replace("{verb}", EXPLORED)
            judged.append(replace(finding, verdict="", sentence=sentence))
            continue
        p_holm = next(adjusted)
        verdict = UNCLEAR if p_holm >= 1 - statistics.LEVEL else finding.verdict
        sentence = finding.sentence.replace("{verb}", VERBS[verdict])
        sentence += f" This {_answer(finding, verdict)} {finding.answers} of the paper."
        judged.append(replace(finding, p_holm=p_holm, verdict=verdict, sentence=sentence))
    return judged


def _answer(finding: Finding, verdict: str) -> str:
    """Say whether a contrast bears out the paper: a gain over none, or as good as ST within MARGIN."""
    low, high = finding.low, finding.high
    if finding.answers == "Table 4":
        agrees = low is not None and high is not None and max(-low, high) < MARGIN
        contradicts = low is not None and high is not None and max(low, -high) > MARGIN
    else:
        agrees, contradicts = verdict == IMPROVES, verdict == LOWERS
    return "agrees with" if agrees else "contradicts" if contradicts else "cannot decide on"


def _means(compared: Comparison, metric: str, *, gains: bool = False) -> list[Finding]:
    """Return the mean difference in a metric, and the mean relative gain over the targets that have one."""
    results = [ours for ours, _ in compared.changes(metric)]
    if not results:
        return []
    unit = "L2" if metric == "acr" else "points"
    mean = over_sets(results, metric, "differences")
    says = f"{compared.subject} {{verb}} {TITLES[metric]}: {_text(mean, unit)}{_between(mean)}"
    means = [_finding(compared, f"{metric}_difference", mean, unit, len(results), says, tested=True)]
    relative = [result for result in results if metric in result.gains] if gains else []
    if relative:
        gain = over_sets(relative, metric, "gains")
        without = [r.cell.target for r in results if metric not in r.gains]
        text = f"{compared.subject}: mean relative gain in {TITLES[metric]} {_text(gain, '%')}"
        if without:
            text += f", left out on {len(without)} ({', '.join(without)}), where the other is near 0"
        means.append(_finding(compared, f"{metric}_gain", gain, "%", len(relative), text))
    return means


def _conditional(compared: Comparison) -> list[Finding]:
    """Return the change in robustness on the images that both models classify correctly."""
    changes = [change for pair in compared.pairs if (change := conditional(*pair)) is not None]
    if not changes:
        return []
    mean = over_sets(changes, "ra", "differences")
    says = (
        f"{compared.subject} {{verb}} RA among images that both classify correctly: {_text(mean, 'points')}"
    )
    says += _between(mean)
    return [_finding(compared, "ra_if_both_right", mean, "points", len(changes), says, tested=True)]


def _explained(compared: Comparison) -> list[Finding]:
    """Return R2 of the change in RA on that in SA, beside its value if RA/SA of no target changed."""
    changes = compared.changes("ra")
    fit = mechanical_r2(changes, "differences")
    if fit is None:
        return []
    reference = f"{fit.median:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
    says = f"{compared.subject}: R2 of the difference in RA on that in SA is {fit.r2:.2f}"
    says += f" over {len(changes)} targets; had RA/SA of no target changed, it would be {reference}"
    return [
        Finding(
            finding=f"{compared.name}_ra_on_sa_r2",
            value=fit.r2,
            low=fit.low,
            high=fit.high,
            like_low=None,
            like_high=None,
            unit="R2",
            method="bounds of R2 had RA/SA of no target changed",
            p=None,
            p_holm=None,
            verdict="",
            targets=len(changes),
            sentence=f"{says} ({compared.scope}).",
            notices=compared.notices,
            runs=compared.runs,
        )
    ]


def _level(compared: Comparison, metric: str) -> list[Finding]:
    """Return the mean of a metric itself, which is compared with nothing."""
    results = [result for result, _ in compared.pairs]
    if not results:
        return []
    mean = over_sets(results, metric, "estimates")
    value, low, high = (percent(v) for v in (mean.value, mean.low, mean.high))
    says = f"{compared.subject} reaches {TITLES[metric]} {value} % [{low}, {high}]"
    return [_finding(compared, metric, mean, "%", len(results), says)]


def _finding(
    compared: Comparison,
    name: str,
    mean: SetsMean,
    unit: str,
    targets: int,
    says: str,
    *,
    tested: bool = False,
) -> Finding:
    scale = 1.0 if unit == "L2" else 100.0

    def scaled(value: float | None) -> float | None:
        return None if value is None else scale * value

    return Finding(
        finding=f"{compared.name}_{name}",
        value=scale * mean.value,
        low=scaled(mean.low),
        high=scaled(mean.high),
        like_low=scaled(mean.like_low),
        like_high=scaled(mean.like_high),
        unit=unit,
        method=mean.method,
        p=mean.p if tested else None,
        p_holm=None,
        verdict=_direction(mean) if tested else "",
        targets=targets,
        sentence=f"{says} ({'; '.join(filter(None, (compared.scope, mean.partly)))}).",
        notices=compared.notices,
        runs=compared.runs,
    )


def _direction(mean: SetsMean) -> str:
    if mean.falling and mean.rising:
        return MIXED
    return IMPROVES if mean.value > 0 else LOWERS


def _between(mean: SetsMean) -> str:
    """Say how sets differ."""
    if len(mean.sets) < 2:
        return ""
    share = "" if mean.heterogeneity is None else f"; I2 {100 * mean.heterogeneity:.0f} %"
    return f"; rises on {len(mean.rising)} of {len(mean.sets)} sets{share}"


def _text(mean: SetsMean, unit: str) -> str:
    def write(value: float | None) -> str:
        return f"{value:+.3f}" if unit == "L2" and value is not None else percent(value, signed=True)

    text = f"{write(mean.value)} {unit} [{write(mean.low)}, {write(mean.high)}]"
    if mean.like_low is None:
        return text
    return f"{text} {{{write(mean.like_low)}, {write(mean.like_high)}}}"


def sentences(findings: Sequence[Finding]) -> list[str]:
    """Return the sentences."""
    return [finding.sentence for finding in findings]
