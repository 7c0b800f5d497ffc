"""From class counts to what they certify, in float64; the confidence bound itself is `core.binomial`'s.

References
----------
Cohen, Rosenfeld, Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtr, ndtri

from robust_transfer.core.binomial import lower_bound, upper_bound


def certified_radius(p_lower: float, sigma: float) -> float:
    """Turn a lower bound on the top class's probability into an L2 radius (Cohen et al. 2019, Theorem 1).

    Returns
    -------
    sigma * Phi^-1(p_lower), in the units of sigma; 0 where p_lower does not exceed 1/2
    """
    assert 0 <= p_lower < 1, p_lower
    return sigma * float(ndtri(p_lower)) if p_lower > 0.5 else 0.0


def needed_probability(radius: float, sigma: float) -> float:
    """Tell the probability of the top class from which on `radius` can be certified: Phi(radius / sigma)."""
    return float(ndtr(radius / sigma))


def certifies(count: int, samples: int, alpha: float, *, sigma: float, radius: float) -> bool:
    """Tell whether `count` of `samples` certify `radius`; radius 0 asks for no more than not to abstain."""
    p_lower = lower_bound(count, samples, alpha)
    return p_lower > 0.5 and certified_radius(p_lower, sigma) >= radius


@lru_cache(maxsize=4096)
def smallest_count(samples: int, alpha: float, *, sigma: float, radius: float) -> int:
    """Tell the smallest count that certifies `radius`, or samples + 1 if none does."""
    low, high = 0, samples + 1
    while low < high:
        middle = (low + high) // 2
        if certifies(middle, samples, alpha, sigma=sigma, radius=radius):
            high = middle
        else:
            low = middle + 1
    return low


@lru_cache(maxsize=4096)
def futility_count(samples: int, beta: float, *, probability: float) -> int:
    """Tell the largest count that shows with confidence 1 - beta that `probability` is not reached; or -1."""
    low, high = -1, samples
    while low < high:
        middle = (low + high + 1) // 2
        if upper_bound(middle, samples, beta) < probability:
            low = middle
        else:
            high = middle - 1
    return low


@lru_cache(maxsize=4096)
def unpromising_count(samples: int, n: int, needed: int, probability: float) -> int:
    """Tell the largest count after `samples` of n that makes `needed` after n less likely than `probability`.

    The prediction is that of a uniform prior on the class's probability, the beta-binomial law. For it,
    P(count after n >= needed | count) = P(H <= count), where H is the number of marked balls among
    samples + 1 drawn without replacement from n + 1, of which `needed` are marked.

    Returns
    -------
    -1 where every count may do
    """
    balls, drawn = n + 1, samples + 1
    marked = np.arange(max(0, drawn - (balls - needed)), min(drawn, needed) + 1)
    log_probability = (
        _log_choose(needed, marked) + _log_choose(balls - needed, drawn - marked) - _log_choose(balls, drawn)
    )
    below = np.searchsorted(np.cumsum(np.exp(log_probability)), probability)
    return int(marked[0] + below) - 1


def _log_choose(total: npt.ArrayLike, chosen: npt.ArrayLike) -> Any:
    total, chosen = np.asarray(total), np.asarray(chosen)
    return gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)


def two_class_radius(
    top: int, runner_up: int, samples: int, alpha: float, *, sigma: float, num_classes: int
) -> float:
    """Bound the radius by the two most probable classes: sigma / 2 (Phi^-1(p_A) - Phi^-1(p_B)).

    Half of `alpha` bounds the top class from below, the other half all others from above, each at its share
    of the num_classes - 1 (Bonferroni); what the top class leaves over bounds them too. The statement has an
    error budget of its own: it and the radius of CERTIFY hold together with probability 1 - 2 alpha only.

    Parameters
    ----------
    top, runner_up : votes for the class picked beforehand, and the most that any other may have got

    Returns
    -------
    the radius, in units of sigma; 0 where the bounds do not tell the classes apart

    References
    ----------
    Cohen et al. 2019, Theorem 1 with p_B bounded by itself, not by 1 - p_A.
    """
    p_top = lower_bound(top, samples, alpha / 2)
    p_other = min(upper_bound(runner_up, samples, alpha / 2 / (num_classes - 1)), 1 - p_top)
    return sigma / 2 * float(ndtri(p_top) - ndtri(p_other)) if p_top > p_other else 0.0


def top_two_p_value(first: int, second: int) -> float:
    """Test that two classes are equally likely (two-sided binomial test; Cohen et al. 2019, PREDICT)."""
    if first + second == 0:
        return 1.0
    from scipy.stats import binomtest  # half a second to import

    return float(binomtest(int(first), int(first) + int(second), 0.5).pvalue)
