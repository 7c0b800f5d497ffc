"""Confidence bounds on a vote's probability and the radii they certify, in float64.

References
----------
Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
Cohen, Rosenfeld, Kolter 2019, "Certified adversarial robustness via randomized smoothing", arXiv:1902.02918.
"""

from __future__ import annotations

import math
from functools import lru_cache

from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import binomtest


def lower_bound(count: int, samples: int, alpha: float) -> float:
    """Bound a probability from below, with confidence 1 - alpha (one-sided Clopper-Pearson).

    Parameters
    ----------
    count : successes among `samples` independent trials

    Returns
    -------
    the Beta(count, samples - count + 1) quantile at alpha; 0 if count is 0, alpha^(1/samples) if all
    succeeded
    """
    assert 0 <= count <= samples and samples > 0 and 0 < alpha < 1, (count, samples, alpha)
    if count == 0:
        return 0.0
    bound = float(betaincinv(count, samples - count + 1, alpha))
    assert 0 < bound < 1, "a bound from finitely many samples is never 1"
    return bound


def upper_bound(count: int, samples: int, alpha: float) -> float:
    """Bound a probability from above, with confidence 1 - alpha (one-sided Clopper-Pearson)."""
    return 1.0 - lower_bound(samples - count, samples, alpha)


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
    """Tell whether `count` votes certify `radius`; radius 0 asks for no more than not to abstain."""
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
def largest_hopeless_count(samples: int, beta: float, *, probability: float) -> int:
    """Tell the largest count that shows with confidence 1 - beta that `probability` is not reached; or -1."""
    low, high = -1, samples
    while low < high:
        middle = (low + high + 1) // 2
        if upper_bound(middle, samples, beta) < probability:
            low = middle
        else:
            high = middle - 1
    return low


def top_two_p_value(first: int, second: int) -> float:
    """Test that two classes are equally likely (two-sided binomial test; Cohen et al. 2019, PREDICT)."""
    if first + second == 0:
        return 1.0
    return float(binomtest(int(first), int(first) + int(second), 0.5).pvalue)


def high_probability_accuracy(accuracy: float, num_images: int, *, alpha: float, rho: float) -> float:
    """Bound from below the share of images that are truly robust, where each certificate may be false.

    With probability at least 1 - rho over the noise, at least this share of the images is robust at the
    radius (Cohen et al. 2019, appendix on high-probability guarantees; Bernstein's inequality).

    Parameters
    ----------
    accuracy : share of `num_images` that were certified at the radius
    alpha : probability with which one certificate is false
    """
    slack = math.log(1 / rho) / num_images
    return max(0.0, accuracy - alpha - math.sqrt(alpha * (1 - alpha) * slack) - slack / 3)


def population_interval(count: int, num_images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Bound the share in the population that the images were drawn from (two-sided Clopper-Pearson)."""
    tail = (1 - confidence) / 2
    return lower_bound(count, num_images, tail), upper_bound(count, num_images, tail)
