"""PREDICT for one image; PREDICT and the top k classes from the votes of every class.

C channels, H/W pixels.

References
----------
Cohen, Rosenfeld, Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from robust_transfer.core.arguments import real, whole, written
from robust_transfer.core.errors import ConfigError
from robust_transfer.models.callables import Model
from robust_transfer.smoothing.bounds import top_two_p_value
from robust_transfer.smoothing.certification import ABSTAIN
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.smoothing.sampling import Sampler
from robust_transfer.smoothing.settings import BLOCK, Settings

Votes = ClassCounts | Mapping[int, int]
"""The votes of each class, such as `certificate.counts` or what `evaluation.class_counts.read` gives."""


def predict(
    model: Model,
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
    settings = Settings(sigma, BLOCK, n, alpha)
    sample = Sampler.of(model, image, sigma=settings.sigma, batch_size=batch_size, seed=seed, index=index)
    if settings.sigma == 0:
        return sample.without_noise().top
    return predict_from(sample("estimate", 0, settings.n), alpha=settings.alpha)


def predict_from(counts: Votes, *, alpha: float = 0.001) -> int:
    """Return the class with the most votes if the two-sided binomial test tells it from the next, or -1.

    Raises
    ------
    ConfigError : votes that are no counts, an alpha that is not between 0 and 1
    """
    alpha = real("alpha", alpha)
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha!r} (expected above 0 and below 1)")
    votes = _votes(counts)
    first, second = (*sorted(votes.votes.values(), reverse=True), 0, 0)[:2]
    return votes.top if top_two_p_value(first, second) <= alpha else ABSTAIN


def top_k(counts: Votes, *, k: int) -> list[int]:
    """Return the k classes with the most votes, from the most down; of equal ones the lowest comes first.

    Fewer than k where fewer have any.

    Raises
    ------
    ConfigError : votes that are no counts, a k below 1
    """
    votes = _votes(counts).votes
    return sorted(+votes, key=lambda name: (-votes[name], name))[: whole("k", k, low=1)]


def _votes(counts: Votes) -> ClassCounts:
    votes = counts.votes if isinstance(counts, ClassCounts) else counts
    if not isinstance(votes, Mapping):
        raise ConfigError(f"counts={written(counts)} (expected the votes of each class)")
    return ClassCounts(
        Counter({whole("class", name): whole("votes", number, low=0) for name, number in votes.items()})
    )
