"""CERTIFY and PREDICT for one image, and the same rules on simulated votes.

C channels, H/W pixels, K classes.

References
----------
Cohen, Rosenfeld, Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from robust_transfer.core.errors import EvaluationError
from robust_transfer.smoothing.bounds import top_two_p_value
from robust_transfer.smoothing.counts import Unit, Votes, count_votes, plain_votes
from robust_transfer.smoothing.looks import Look
from robust_transfer.smoothing.noise import Purpose
from robust_transfer.smoothing.sequential import ABSTAIN, Certificate, Progress, Rules
from robust_transfer.smoothing.settings import BLOCK, check_settings


def certify(
    model: nn.Module,
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
    model : (B, C, H, W) in [0, 1] to logits (B, K); in eval mode for the call, given back exactly as it came
    image : (C, H, W) float in [0, 1]
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
    EvaluationError : an image outside [0, 1] or no (C, H, W), a label that is no class, an output that is no
        (B, K)
    """
    check_settings(
        sigma=sigma,
        n0=n0,
        n=n,
        alpha=alpha,
        mode=mode,
        radii=radii,
        tolerance=tolerance,
        batch_size=batch_size,
    )
    rules = Rules(sigma=sigma, n=n, alpha=alpha, mode=mode, radii=tuple(radii), tolerance=tolerance)

    def draw(purpose: Purpose, start: int, stop: int) -> Votes:
        unit = Unit(image=0, index=index, start=start, stop=stop)
        return count_votes(
            model, [image], [unit], sigma=sigma, seed=seed, purpose=purpose, batch_size=batch_size
        )[0]

    votes = draw("select", 0, n0) if sigma > 0 else plain_votes(model, [image], batch_size=1)[0]
    if label is not None and not 0 <= label < len(votes.counts):
        raise EvaluationError(f"label {label} is no class (expected 0..{len(votes.counts) - 1})")
    progress = begin(votes, label=label)
    drawn = 0
    while isinstance(step := rules.next(progress), Look):
        votes = draw("estimate", drawn, step.samples)
        progress = progress.after_look(
            votes.counts[progress.guess],
            nonfinite=votes.nonfinite,
            ties=votes.ties,
            near_ties=votes.near_ties,
        )
        drawn = step.samples
    return step


def begin(votes: Votes, *, label: int | None = None) -> Progress:
    """Start from the votes that pick the class; without a single vote the class is -1."""
    guess = votes.top
    return Progress(
        guess,
        guess_is_label=None if label is None else guess == label,
        nonfinite=votes.nonfinite,
        ties=votes.ties,
        near_ties=votes.near_ties,
    )


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
    """Run the rules of `certify` on votes that come from elsewhere, such as a simulation.

    Parameters
    ----------
    draw : tells the votes for the guess among k fresh samples; called once a look
    guess_is_label : False stops before the first draw

    Returns
    -------
    the certificate, in which the guess is class 0

    Raises
    ------
    ConfigError : a setting out of range
    """
    check_settings(sigma=sigma, n=n, alpha=alpha, mode=mode, radii=radii, tolerance=tolerance)
    rules = Rules(sigma=sigma, n=n, alpha=alpha, mode=mode, radii=tuple(radii), tolerance=tolerance)
    progress = Progress(0, guess_is_label=guess_is_label)
    drawn = 0
    while isinstance(step := rules.next(progress), Look):
        progress = progress.after_look(int(draw(step.samples - drawn)))
        drawn = step.samples
    return step


def predict(
    model: nn.Module,
    image: torch.Tensor,
    *,
    sigma: float = 0.5,
    n: int = 100,
    alpha: float = 0.001,
    batch_size: int = BLOCK,
    seed: int = 0,
    index: int = 0,
) -> int:
    """Predict the smoothed class, or -1 to abstain.

    With probability at least 1 - alpha the class returned, if any, is that of the smoothed classifier (Cohen
    et al. 2019, Algorithm PREDICT). The samples are the first n that `certify` estimates with under the same
    key.

    Raises
    ------
    ConfigError, EvaluationError : as in `certify`
    """
    check_settings(sigma=sigma, n=n, alpha=alpha, batch_size=batch_size)
    if sigma == 0:
        return plain_votes(model, [image], batch_size=1)[0].top
    unit = Unit(image=0, index=index, start=0, stop=n)
    votes = count_votes(
        model, [image], [unit], sigma=sigma, seed=seed, purpose="estimate", batch_size=batch_size
    )[0]
    first, second = sorted(votes.counts, reverse=True)[:2]
    return votes.top if top_two_p_value(first, second) <= alpha else ABSTAIN
