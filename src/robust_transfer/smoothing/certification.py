"""CERTIFY for one image, and on simulated counts.

C channels, H/W pixels, K classes.

References
----------
Cohen, Rosenfeld, Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from robust_transfer.core.arguments import whole
from robust_transfer.core.binomial import lower_bound
from robust_transfer.core.errors import ConfigError, EvaluationError
from robust_transfer.models.callables import Model
from robust_transfer.smoothing.bounds import certified_radius, two_class_radius
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.smoothing.sampling import Sampler
from robust_transfer.smoothing.settings import BLOCK, Settings
from robust_transfer.smoothing.stopping import Progress, StoppingRule

ABSTAIN = -1


@dataclass(frozen=True)
class Certificate:
    """What is certified about one image, and the counts from which it can be computed again.

    With probability at least 1 - alpha over the noise, no image closer than `radius` (L2, [0, 1] pixels) has
    another smoothed class than `prediction`. `p_lower` = lower_bound(count_top, num_samples, alpha_spent) and
    `radius` = certified_radius(p_lower, sigma).

    prediction : the class, -1 for abstain (a skipped image abstains too)
    guess : the class that the n0 samples picked
    count_top, num_samples, alpha_spent : votes for the guess, samples and error share of the analysis with
        the largest bound
    samples_drawn : samples of the estimation, in all
    stopped : "full" after n samples; "label": the guess is not the label; "decided": all radii have their
        answer; "tolerance": the radius is near enough
    nonfinite, ties, near_ties : samples with non-finite logits, with equal and with nearly equal top logits,
        those that picked the guess included
    counts : votes of every class among the samples of the estimation, for PREDICT or the classes that follow
    radius_two_class : another radius for the guess, from all class counts (see `bounds.two_class_radius`); 0
        where it abstains, None where the other classes' votes are unknown
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
    counts: Counter[int] = field(default_factory=Counter)
    radius_two_class: float | None = None

    @property
    def abstained(self) -> bool:
        """Whether no class is certified."""
        return self.prediction == ABSTAIN


def certify(
    model: Model,
    image: torch.Tensor,
    *,
    sigma: float = 0.5,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    mode: str = "exact",
    radii: Sequence[float] = (0.5,),
    tolerance: float = 0.02,
    label: int | None = None,
    batch_size: int = BLOCK,
    seed: int = 0,
    index: int = 0,
) -> Certificate:
    """Certify one image: an L2 radius within which the smoothed prediction is constant.

    With probability at least 1 - alpha over the noise, every image closer than `radius` has the same smoothed
    class (Cohen et al. 2019, Algorithm CERTIFY). The certificate is that of the model in the arithmetic that
    it runs in.

    Parameters
    ----------
    model : any callable from (B, C, H, W) in [0, 1] to logits (B, K), or to an object with `.logits`; a
        module is in eval mode for the call and given back exactly as it came. Noise is added in float32, then
        the copies are cast to the type of the model's weights
    image : (C, H, W) float in [0, 1], a tensor or a NumPy array
    sigma : standard deviation of the noise, in units of [0, 1] pixels; 0: the plain prediction with radius 0
    n0, n : fresh noise samples that pick the class, and that bound its probability; multiples of 100
    alpha : probability with which the certificate may be false
    mode : "exact"; "decide": far fewer samples, radii good only for yes or no at `radii`; "adaptive": a
        radius within the share `tolerance` of the exact one
    label : allows to skip the n samples where the guess is wrong: accuracies and ACR stay the same
    batch_size : samples per forward; changes no count beyond `near_ties`
    seed, index : key of the noise; `index` is the image's position in its data set

    Raises
    ------
    ConfigError : a setting out of range
    EvaluationError : an image outside [0, 1] or not (C, H, W), a label that is not a class, an output that is
        not (B, K)
    """
    settings = Settings(sigma, n0, n, alpha, mode, radii, tolerance)
    sample = Sampler.of(model, image, sigma=settings.sigma, batch_size=batch_size, seed=seed, index=index)
    label = None if label is None else whole("label", label)

    selection = sample("select", 0, settings.n0) if settings.sigma > 0 else sample.without_noise()
    if label is not None and not 0 <= label < selection.num_classes:
        raise EvaluationError(f"label {label} is not a class (expected 0..{selection.num_classes - 1})")
    rule, progress = StoppingRule(settings), begin(selection, label=label)
    while analysis := rule.next(progress):  # mode "exact": once, after n samples
        progress = progress.add(sample("estimate", rule.samples_drawn(progress), analysis.samples))
    return conclude(rule, progress)


def begin(selection: ClassCounts, *, label: int | None = None) -> Progress:
    """Pick the class with the most of the n0 votes; without a single vote it is -1."""
    guess = selection.top
    return Progress(guess, guess_is_label=None if label is None else guess == label, selection=selection)


def conclude(rule: StoppingRule, progress: Progress) -> Certificate:
    """Certify the guess if the lower bound on its probability exceeds 1/2, otherwise abstain."""
    stopped = rule.stopped(progress)
    assert stopped is not None, "an image that still needs samples has no certificate"
    prediction, radius, p_lower = ABSTAIN, 0.0, 0.0
    count, samples, alpha = 0, 0, 0.0
    if progress.analysed:
        analysis, count = rule.largest_bound(progress)
        samples, alpha = analysis.samples, analysis.alpha
        p_lower = lower_bound(count, samples, alpha)
        if p_lower > 0.5:
            prediction, radius = progress.guess, certified_radius(p_lower, rule.settings.sigma)
    elif rule.settings.sigma == 0:
        prediction = progress.guess
    everything = progress.selection + progress.estimation
    return Certificate(
        prediction=prediction,
        guess=progress.guess,
        radius=radius,
        count_top=count,
        num_samples=samples,
        samples_drawn=rule.samples_drawn(progress),
        p_lower=p_lower,
        alpha_spent=alpha,
        stopped=stopped,
        nonfinite=everything.nonfinite,
        ties=everything.ties,
        near_ties=everything.near_ties,
        counts=progress.estimation.votes,
        radius_two_class=_two_class_radius(rule, progress),
    )


def _two_class_radius(rule: StoppingRule, progress: Progress) -> float | None:
    """Return the largest over the analyses, each at its share of alpha; None without all classes' votes."""
    guess, num_classes = progress.guess, progress.selection.num_classes
    if num_classes < 2:
        return None
    radii = [0.0]
    for analysis, counts in zip(rule.analyses, progress.analysed, strict=False):
        # A sample that voted for none may have been any other class's.
        silent = analysis.samples - counts.votes.total()
        runner_up = max((votes for name, votes in counts.votes.items() if name != guess), default=0) + silent
        radii.append(
            two_class_radius(
                counts.votes[guess],
                runner_up,
                analysis.samples,
                analysis.alpha,
                sigma=rule.settings.sigma,
                num_classes=num_classes,
            )
        )
    return max(radii)


def certify_counts(
    draw: Callable[[int], int],
    guess_is_label: bool | None = None,
    *,
    n: int = 100_000,
    alpha: float = 0.001,
    mode: str = "exact",
    radii: Sequence[float] = (0.5,),
    tolerance: float = 0.02,
    sigma: float = 0.5,
) -> Certificate:
    """Run `certify` on counts that come from elsewhere, such as a simulation.

    Parameters
    ----------
    draw : tells the votes for the guess among k fresh samples; called once an analysis
    guess_is_label : False stops before the first draw

    Returns
    -------
    the certificate, in which the guess is class 0

    Raises
    ------
    ConfigError : a setting out of range
    """
    rule = StoppingRule(Settings(sigma, BLOCK, n, alpha, mode, radii, tolerance))
    progress = Progress(0, guess_is_label=guess_is_label)
    while analysis := rule.next(progress):
        samples = analysis.samples - rule.samples_drawn(progress)
        votes = whole("draw's votes", draw(samples), low=0)
        if votes > samples:
            raise ConfigError(f"draw's votes={votes} (expected at most {samples}, the samples asked for)")
        progress = progress.add(ClassCounts(Counter({0: votes})))
    return conclude(rule, progress)
