"""What the study on real photographs found, in sentences.

Means over data sets with calibrated 95 % intervals.

Differences in points come first: a gain relative to no pre-training explodes where that is near chance, and
is left out on targets where it is not distinct from 0. Every verdict rests on the interval and p-value of a
difference, Holm-adjusted over all verdicts of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from robust_transfer.core import statistics
from robust_transfer.report.analysis.averages import SetsMean, over_sets
from robust_transfer.report.analysis.conditional import conditional, mechanical_r2
from robust_transfer.report.index.cells import TITLES
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
    "sets like these. Verdicts are adjusted by Holm over this page."
)
IMPROVES, LOWERS, MIXED, UNCLEAR = "improves", "lowers", "differs between sets", "no clear change"
VERBS = {
    IMPROVES: "improves",
    LOWERS: "lowers",
    MIXED: "changes, with signs that differ between sets,",
    UNCLEAR: "makes no clear change to",
}


@dataclass(frozen=True)
class Finding:
    """A number in `unit`, what it says, and the runs behind it.

    low, high : for these sets; None for counts
    like_low, like_high : for the mean of sets like these
    p, p_holm : None where nothing is tested
    verdict : set where p is
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


def findings(tables: Mapping[str, Table]) -> list[Finding]:
    """Return every finding that the runs of its tables allow."""
    known = {cell: result for table in tables.values() for cell, result in table.results.items()}
    found: list[Finding] = []
    for track in natural.TRACKS:
        metrics = natural.metrics(track)
        for pretrain in (track, "simclr", "st"):
            against = pretrainings(known, track, pretrain, "none")
            found += [finding for metric in metrics for finding in _means(against, metric, gains=True)]
            found += _conditional(against) + _explained(against)
        found += _means(pretrainings(known, track, track, "st"), "ra")
        found += _means(pretrainings(known, track, "simclr", track), "ra")
    found += [*_means(last_layer(known), "ra"), *_level(plain_last_layer(known), "sa")]
    return _judged(found)


def _judged(found: Sequence[Finding]) -> list[Finding]:
    """Give every finding that is tested its adjusted p-value, and its verdict and verb by that."""
    tested = [finding.p for finding in found if finding.p is not None]
    adjusted = iter(statistics.holm(tested))
    judged = []
    for finding in found:
        if finding.p is None:
            judged.append(finding)
            continue
        p_holm = next(adjusted)
        verdict = UNCLEAR if p_holm >= 1 - statistics.LEVEL else finding.verdict
        sentence = finding.sentence.replace("{verb}", VERBS[verdict])
        judged.append(replace(finding, p_holm=p_holm, verdict=verdict, sentence=sentence))
    return judged


def _means(compared: Comparison, metric: str, *, gains: bool = False) -> list[Finding]:
    """Return the mean difference in a metric, and the mean relative gain over the targets that have one."""
    results = [ours for ours, _ in compared.changes(metric)]
    if not results:
        return []
    unit = "L2" if metric == "acr" else "points"
    mean = over_sets(results, metric, "differences")
    says = f"{compared.subject} {{verb}} {TITLES[metric]}: {_text(mean, unit)}{_between(mean)}"
    found = [_finding(compared, f"{metric}_difference", mean, unit, len(results), says, tested=True)]
    relative = [result for result in results if metric in result.gains] if gains else []
    if relative:
        gain = over_sets(relative, metric, "gains")
        without = [r.cell.target for r in results if metric not in r.gains]
        text = f"{compared.subject}: mean relative gain in {TITLES[metric]} {_text(gain, '%')}"
        if without:
            text += f", left out on {len(without)} ({', '.join(without)}), where the other is near 0"
        found.append(_finding(compared, f"{metric}_gain", gain, "%", len(relative), text))
    return found


def _conditional(compared: Comparison) -> list[Finding]:
    """Return the change in robustness on the images that both models classify right."""
    changes = [change for pair in compared.pairs if (change := conditional(*pair)) is not None]
    if not changes:
        return []
    mean = over_sets(changes, "ra", "differences")
    says = f"{compared.subject} {{verb}} RA among images that both classify right: {_text(mean, 'points')}"
    says += _between(mean)
    return [_finding(compared, "ra_if_both_right", mean, "points", len(changes), says, tested=True)]


def _explained(compared: Comparison) -> list[Finding]:
    """Return R2 of the change in RA on that in SA, beside what it is if RA/SA of no target changed."""
    changes = compared.changes("ra")
    found = mechanical_r2(changes, "differences")
    if found is None:
        return []
    reference = f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}]"
    says = f"{compared.subject}: R2 of the difference in RA on that in SA is {found.r2:.2f}"
    says += f" over {len(changes)} targets; had RA/SA of no target changed, it would be {reference}"
    return [
        Finding(
            finding=f"{compared.name}_ra_on_sa_r2",
            value=found.r2,
            low=found.low,
            high=found.high,
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
        sentence=f"{says} ({compared.scope}).",
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


def sentences(found: Sequence[Finding]) -> list[str]:
    """Return the sentences."""
    return [finding.sentence for finding in found]
