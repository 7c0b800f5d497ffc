"""One-sided confidence bounds on a binomial probability.

References
----------
Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
"""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=2**14)  # every interim analysis asks for those before it again
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
    from scipy.special import betaincinv

    assert 0 <= count <= samples and samples > 0 and 0 < alpha < 1, (count, samples, alpha)
    if count == 0:
        return 0.0
    bound = float(betaincinv(count, samples - count + 1, alpha))
    assert 0 < bound < 1, "a bound from finitely many samples is never 1"
    return bound


def upper_bound(count: int, samples: int, alpha: float) -> float:
    """Bound a probability from above, with confidence 1 - alpha (one-sided Clopper-Pearson)."""
    return 1.0 - lower_bound(samples - count, samples, alpha)


def most_successes(trials: int, probability: float, *, confidence: float) -> int:
    """Tell the number that successes in independent trials, each of at most `probability`, stay within.

    The smallest c with P(successes > c) <= 1 - confidence: the exact quantile, no inequality's bound on it.
    """
    from scipy.special import bdtrc

    low, high = 0, trials
    while low < high:
        middle = (low + high) // 2
        if bdtrc(middle, trials, probability) <= 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return low
