"""Bounds against statsmodels and SciPy's binomial distribution."""

import math

import pytest
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from robust_transfer.core.binomial import lower_bound, most_successes, upper_bound

COUNTS = [(0, 100), (1, 100), (50, 100), (99, 100), (100, 100), (84_492, 100_000), (99_999, 100_000)]


@pytest.mark.parametrize(("count", "samples"), COUNTS)
@pytest.mark.parametrize("alpha", [0.001, 0.2 * 0.001 / 8, 0.05])
def test_bounds_are_clopper_pearson(count, samples, alpha):
    low, high = proportion_confint(count, samples, alpha=2 * alpha, method="beta")
    assert lower_bound(count, samples, alpha) == pytest.approx(low, rel=1e-12)
    assert upper_bound(count, samples, alpha) == pytest.approx(high, rel=1e-12)


def test_a_lower_bound_solves_its_binomial_tail():
    bound = lower_bound(870, 1000, 0.001)
    assert binom.sf(869, 1000, bound) == pytest.approx(0.001, rel=1e-9)


@pytest.mark.parametrize("count", [-1, 101])
def test_impossible_counts_are_our_bug_and_never_nan(count):
    with pytest.raises(AssertionError):
        lower_bound(count, 100, 0.001)
    assert not math.isnan(lower_bound(100, 100, 0.001))


@pytest.mark.parametrize("trials", [1, 100, 500, 10_000])
@pytest.mark.parametrize("probability", [1e-6, 0.001, 0.4])
@pytest.mark.parametrize("confidence", [0.95, 0.999])
def test_successes_stay_within_the_exact_quantile(trials, probability, confidence):
    most = most_successes(trials, probability, confidence=confidence)
    assert most == binom.ppf(confidence, trials, probability)
    # By the definition: more come with probability 1 - confidence at most, and no smaller number will do.
    assert binom.sf(most, trials, probability) <= 1 - confidence
    assert most == 0 or binom.sf(most - 1, trials, probability) > 1 - confidence
