"""Interim analyses: when class counts may be analysed, and when no more samples are needed.

Nothing here draws or computes with images, so that the same rule serves a notebook, a journalled evaluation
over a data set, and a simulation of error rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from robust_transfer.core.binomial import lower_bound
from robust_transfer.smoothing.bounds import (
    certified_radius,
    futility_count,
    needed_probability,
    smallest_count,
    unpromising_count,
)
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.smoothing.settings import BLOCK, Settings

FUTILITY = 1e-3  # over all analyses: probability of giving up a radius that the class's probability allows
UNPROMISING = 2e-3  # a radius is given up below this probability that n samples would certify it


@dataclass(frozen=True)
class Schedule:
    """When counts are analysed before the last time, and how that is paid for.

    first, ratio : samples of the first analysis, and from one to the next; rounded to hundreds
    share : of alpha, for all analyses before the last one
    weight : power of its samples to which an analysis' part of that share is proportional
    """

    first: int
    ratio: float
    share: float
    weight: float


SCHEDULES = {
    "dense": Schedule(first=100, ratio=1.2, share=0.5, weight=0.5),
    "doubling": Schedule(first=500, ratio=2.0, share=0.2, weight=0.0),
}


@dataclass(frozen=True)
class Analysis:
    """An analysis of the counts after `samples` samples, at Clopper-Pearson level 1 - `alpha`."""

    samples: int
    alpha: float


def interim_analyses(mode: str, *, n: int, alpha: float, analyses: str = "dense") -> tuple[Analysis, ...]:
    """Split one image's error budget over the analyses of a mode; the shares add up to `alpha`.

    `exact` has one analysis, at n. The other modes have earlier ones by a schedule, which share a part of
    alpha, and one at n with the rest. By the union bound all bounds hold together with probability 1 - alpha,
    so any of them may be reported and any rule may stop the sampling (Pocock 1977 for the idea of
    group-sequential tests).
    """
    schedule = SCHEDULES[analyses]
    early: list[int] = []
    samples = float(schedule.first)
    while mode != "exact" and (rounded := BLOCK * round(samples / BLOCK)) < n:
        early += [rounded] if rounded not in early[-1:] else []
        samples *= schedule.ratio
    if not early:
        return (Analysis(n, alpha),)
    weights = [samples**schedule.weight for samples in early]
    parts = [schedule.share * alpha * weight / sum(weights) for weight in weights]
    last = Analysis(n, (1 - schedule.share) * alpha)
    return (*map(Analysis, early, parts), last)


def largest_radius(
    *, sigma: float, n: int, alpha: float, mode: str = "exact", analyses: str = "dense"
) -> float:
    """Return the radius that is certified if every sample is a vote for the guess: none is larger."""
    budget = interim_analyses(mode, n=n, alpha=alpha, analyses=analyses)
    return certified_radius(max(lower_bound(a.samples, a.samples, a.alpha) for a in budget), sigma)


@dataclass(frozen=True)
class Progress:
    """What has been drawn for one image.

    selection : counts of the n0 samples that picked `guess`, -1 where none of them voted
    guess_is_label : False allows the label skip; None where the label is not told
    analysed : counts of all samples up to each analysis so far, the last one being the largest
    """

    guess: int
    guess_is_label: bool | None = None
    selection: ClassCounts = field(default_factory=ClassCounts)
    analysed: tuple[ClassCounts, ...] = ()

    def add(self, counts: ClassCounts) -> Progress:
        """Add the counts of the samples between the last analysis and this one."""
        return replace(self, analysed=(*self.analysed, self.estimation + counts))

    @property
    def estimation(self) -> ClassCounts:
        """Counts of all samples that estimate the probability of the guess."""
        return self.analysed[-1] if self.analysed else ClassCounts()

    @property
    def counts(self) -> tuple[int, ...]:
        """Votes for the guess at each analysis, ascending."""
        return tuple(counts.votes[self.guess] for counts in self.analysed)


@dataclass(frozen=True)
class StoppingRule:
    """Which analysis comes next, and when the sampling stops; equal settings give equal rules.

    Three modes under one error budget per image: "exact" (Cohen et al. 2019, CERTIFY), "decide" (yes or no at
    each radius, 0 included) and "adaptive" (a radius within a share `tolerance` of what n samples would be
    expected to give). In the last two, every analysis' bound holds at its own share of alpha, hence all at
    once, and the largest is reported. Stopping for futility needs no share: it can only lose certificates.
    """

    settings: Settings

    @cached_property
    def radii(self) -> tuple[float, ...]:
        """The radii to decide, ascending; 0 is always one of them."""
        return tuple(sorted({0.0, *self.settings.radii}))

    @cached_property
    def analyses(self) -> tuple[Analysis, ...]:
        """All analyses that there can be."""
        settings = self.settings
        return interim_analyses(settings.mode, n=settings.n, alpha=settings.alpha, analyses=settings.analyses)

    def next(self, progress: Progress) -> Analysis | None:
        """Tell up to which analysis to draw next; None if nothing more is needed."""
        return None if self.stopped(progress) else self.analyses[len(progress.analysed)]

    def samples_drawn(self, progress: Progress) -> int:
        """Tell how many samples were drawn for the analyses so far."""
        return self.analyses[len(progress.analysed) - 1].samples if progress.analysed else 0

    def stopped(self, progress: Progress) -> str | None:
        """Tell why nothing more is drawn, as in `Certificate.stopped`; None to go on."""
        if self.settings.sigma == 0:
            return "full"
        if progress.guess_is_label is False:
            return "label"
        if progress.guess < 0:
            return "decided"
        counts = progress.counts
        if len(counts) == len(self.analyses):
            return "full"
        if not counts:
            return None
        return self._stopped_early(counts)

    def largest_bound(self, progress: Progress) -> tuple[Analysis, int]:
        """Return the analysis with the largest bound, and the votes for the guess in it."""
        analysed = zip(self.analyses, progress.counts, strict=False)
        return max(analysed, key=lambda pair: lower_bound(pair[1], pair[0].samples, pair[0].alpha))

    def _stopped_early(self, counts: Sequence[int]) -> str | None:
        passed = self._radii_passed(counts)
        if passed < len(self.radii) and counts[-1] > self._futility_bounds[len(counts) - 1][passed]:
            return None
        # Without the radius 0 there is no radius to bring nearer to its limit.
        if self.settings.mode == "decide" or passed == 0:
            return "decided"
        return "tolerance" if self._near_enough(counts) else None

    def _radii_passed(self, counts: Sequence[int]) -> int:
        """Count the radii certified at some analysis, in ascending order, up to the first that fails."""
        passed = 0
        for needed in zip(*self._needed, strict=True):
            if not any(count >= least for count, least in zip(counts, needed, strict=False)):
                break
            passed += 1
        return passed

    def _near_enough(self, counts: Sequence[int]) -> bool:
        """Compare the radius with that of n samples at the current share of votes."""
        n, sigma, last = self.settings.n, self.settings.sigma, self.analyses[-1]
        expected = round(counts[-1] / self.analyses[len(counts) - 1].samples * n)
        reachable = certified_radius(lower_bound(expected, n, last.alpha), sigma)
        bounds = [
            lower_bound(count, analysis.samples, analysis.alpha)
            for analysis, count in zip(self.analyses, counts, strict=False)
        ]
        return certified_radius(max(bounds), sigma) >= (1 - self.settings.tolerance) * reachable

    @cached_property
    def _needed(self) -> list[list[int]]:
        """Smallest count that certifies a radius: one row per analysis, one column per radius."""
        sigma = self.settings.sigma
        return [
            [smallest_count(a.samples, a.alpha, sigma=sigma, radius=r) for r in self.radii]
            for a in self.analyses
        ]

    @cached_property
    def _futility_bounds(self) -> list[list[int]]:
        """Largest count at which a radius is given up: one row per early analysis, one column per radius.

        In the schedule `doubling`, where the count shows with confidence that the class's probability does
        not allow the radius, or n samples cannot bring it any more.
        """
        n, early = self.settings.n, self.analyses[:-1]
        if self.settings.analyses == "dense":
            return [
                [unpromising_count(a.samples, n, k, UNPROMISING) for k in self._needed[-1]] for a in early
            ]
        needed = [needed_probability(r, self.settings.sigma) for r in self.radii]
        return [
            [
                max(futility_count(a.samples, FUTILITY / len(early), probability=p), k - 1 - (n - a.samples))
                for p, k in zip(needed, self._needed[-1], strict=True)
            ]
            for a in early
        ]
