"""The certificate of one image as a state machine: votes so far -> the next look, or the certificate.

Nothing here draws or computes with images, so that the same rules serve a notebook, a journalled evaluation
over a data set, and a simulation of error rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from robust_transfer.smoothing.bounds import (
    certified_radius,
    largest_hopeless_count,
    lower_bound,
    needed_probability,
    smallest_count,
)
from robust_transfer.smoothing.looks import Look, schedule

ABSTAIN = -1
FUTILITY = 1e-3  # probability of giving up a radius that the vote's probability would allow


@dataclass(frozen=True)
class Certificate:
    """What is certified about one image, and the counts from which it can be computed again.

    With probability at least 1 - alpha over the noise, no image closer than `radius` (L2, [0, 1] pixels) has
    another smoothed class than `prediction`. `p_lower` = lower_bound(count_top, num_samples, alpha_spent) and
    `radius` = certified_radius(p_lower, sigma).

    prediction : the class, -1 for abstain (a skipped image abstains too)
    guess : the class that the n0 samples picked
    count_top, num_samples, alpha_spent : votes for the guess, samples and error share of the look that was
        best
    samples_drawn : samples of the estimation, in all
    stopped : "full" after n samples; "label": the guess is not the label; "decided": all radii have their
        answer; "tolerance": the radius is near enough
    nonfinite, ties, near_ties : samples with non-finite logits, with equal and with nearly equal top logits,
        those that picked the guess included
    """

    prediction: int
    guess: int
    radius: float
    count_top: int
    num_samples: int
    samples_drawn: int
    p_lower: float
    alpha_spent: float
    stopped: str
    nonfinite: int = 0
    ties: int = 0
    near_ties: int = 0

    @property
    def abstained(self) -> bool:
        """Whether no class is certified."""
        return self.prediction == ABSTAIN


@dataclass(frozen=True)
class Progress:
    """What is known of one image so far.

    guess : the class that the n0 samples picked; -1 where none of them voted
    guess_is_label : False allows the label skip; None where the label is not told
    counts : votes for the guess among all samples up to each look so far, ascending
    """

    guess: int
    guess_is_label: bool | None = None
    counts: tuple[int, ...] = ()
    nonfinite: int = 0
    ties: int = 0
    near_ties: int = 0

    def after_look(self, votes: int, *, nonfinite: int = 0, ties: int = 0, near_ties: int = 0) -> Progress:
        """Add the votes for the guess among the samples between the last look and this one."""
        return replace(
            self,
            counts=(*self.counts, (self.counts[-1] if self.counts else 0) + votes),
            nonfinite=self.nonfinite + nonfinite,
            ties=self.ties + ties,
            near_ties=self.near_ties + near_ties,
        )


@dataclass(frozen=True)
class _Best:
    look: Look
    count: int
    p_lower: float


@dataclass(frozen=True)
class Rules:
    """When to look, when to stop and what is then certified; equal settings give equal rules.

    Three modes under one error budget `alpha` per image: "exact" (Cohen et al. 2019, CERTIFY), "decide" (yes
    or no at each radius, 0 included) and "adaptive" (a radius within a share `tolerance` of what n samples
    would be expected to give). In the last two, every look's Clopper-Pearson bound holds at its own share of
    alpha, hence all at once, and the largest is reported. Giving up (futility) needs no share: it can only
    lose certificates.
    """

    sigma: float
    n: int
    alpha: float
    mode: str = "exact"
    radii: tuple[float, ...] = (0.5,)
    tolerance: float = 0.02
    looks: tuple[Look, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radii", tuple(sorted({0.0, *self.radii})))
        object.__setattr__(self, "looks", schedule(self.mode, n=self.n, alpha=self.alpha))

    def next(self, progress: Progress) -> Look | Certificate:
        """Tell up to which look to draw next, or the certificate if nothing more is needed.

        At sigma = 0 the guess is the plain prediction, and it is the certificate, with radius 0.
        """
        if self.sigma == 0:
            return self._unsampled(progress, progress.guess, "full")
        if progress.guess_is_label is False:
            return self._unsampled(progress, ABSTAIN, "label")
        if progress.guess == ABSTAIN:
            return self._unsampled(progress, ABSTAIN, "decided")
        stopped = self._stopped(progress.counts)
        if stopped is None:
            return self.looks[len(progress.counts)]
        return self._certificate(progress, stopped)

    def _stopped(self, counts: Sequence[int]) -> str | None:
        if len(counts) == len(self.looks):
            return "full"
        if not counts or self.mode == "exact":
            return None
        passed = self._radii_passed(counts)
        answered = passed == len(self.radii) or self._hopeless(counts, passed)
        if not answered:
            return None
        # Without the radius 0 there is no radius to bring nearer to its limit.
        if self.mode == "decide" or passed == 0:
            return "decided"
        return "tolerance" if self._near_enough(counts) else None

    def _radii_passed(self, counts: Sequence[int]) -> int:
        """Count the radii certified at some look, in ascending order, up to the first that fails."""
        passed = 0
        for needed in zip(*self._needed, strict=True):
            if not any(count >= least for count, least in zip(counts, needed, strict=False)):
                break
            passed += 1
        return passed

    def _hopeless(self, counts: Sequence[int], radius: int) -> bool:
        """Tell whether the radius at this position is out of reach: surely, or with confidence."""
        look, count = self.looks[len(counts) - 1], counts[-1]
        out_of_reach = count + self.n - look.samples < self._needed[-1][radius]
        return out_of_reach or count <= self._hopeless_counts[len(counts) - 1][radius]

    def _near_enough(self, counts: Sequence[int]) -> bool:
        """Compare the radius with that of n samples at the current rate of votes."""
        samples = self.looks[len(counts) - 1].samples
        expected = round(counts[-1] / samples * self.n)
        reachable = certified_radius(lower_bound(expected, self.n, self.looks[-1].alpha), self.sigma)
        return certified_radius(self._best(counts).p_lower, self.sigma) >= (1 - self.tolerance) * reachable

    def _best(self, counts: Sequence[int]) -> _Best:
        bests = [
            _Best(look, count, lower_bound(count, look.samples, look.alpha))
            for look, count in zip(self.looks, counts, strict=False)
        ]
        return max(bests, key=lambda best: best.p_lower)

    def _certificate(self, progress: Progress, stopped: str) -> Certificate:
        best = self._best(progress.counts)
        return Certificate(
            prediction=progress.guess if best.p_lower > 0.5 else ABSTAIN,
            guess=progress.guess,
            radius=certified_radius(best.p_lower, self.sigma),
            count_top=best.count,
            num_samples=best.look.samples,
            samples_drawn=self.looks[len(progress.counts) - 1].samples,
            p_lower=best.p_lower,
            alpha_spent=best.look.alpha,
            stopped=stopped,
            nonfinite=progress.nonfinite,
            ties=progress.ties,
            near_ties=progress.near_ties,
        )

    def _unsampled(self, progress: Progress, prediction: int, stopped: str) -> Certificate:
        return Certificate(
            prediction=prediction,
            guess=progress.guess,
            radius=0.0,
            count_top=0,
            num_samples=0,
            samples_drawn=0,
            p_lower=0.0,
            alpha_spent=0.0,
            stopped=stopped,
            nonfinite=progress.nonfinite,
            ties=progress.ties,
            near_ties=progress.near_ties,
        )

    @cached_property
    def _needed(self) -> list[list[int]]:
        """Smallest count that certifies a radius: one row a look, one column a radius."""
        return [
            [smallest_count(look.samples, look.alpha, sigma=self.sigma, radius=r) for r in self.radii]
            for look in self.looks
        ]

    @cached_property
    def _hopeless_counts(self) -> list[list[int]]:
        """Largest count at which a radius is given up; all early looks share FUTILITY."""
        early = self.looks[:-1]
        needed = [needed_probability(r, self.sigma) for r in self.radii]
        return [
            [largest_hopeless_count(look.samples, FUTILITY / len(early), probability=p) for p in needed]
            for look in early
        ]
