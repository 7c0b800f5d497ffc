"""Radii and counts against SciPy's distributions and published tables."""

import numpy as np
import pytest
from scipy.stats import beta, betabinom, binom, binomtest, norm

from robust_transfer.core.binomial import lower_bound
from robust_transfer.smoothing.bounds import (
    certified_radius,
    futility_count,
    needed_probability,
    smallest_count,
    top_two_p_value,
    unpromising_count,
)


@pytest.mark.parametrize(
    ("samples", "p_lower", "radius"),
    [
        (1000, 0.993116, 1.2316),
        (10_000, 0.999309, 1.5993),
        (100_000, 0.9999309, 1.9057),
        (10**6, 0.9999931, 2.1734),
    ],
)
def test_largest_radius_is_finite_and_known(samples, p_lower, radius):
    bound = lower_bound(samples, samples, 0.001)
    assert bound == pytest.approx(0.001 ** (1 / samples), rel=1e-12)
    assert bound == pytest.approx(p_lower, abs=6e-7)
    assert certified_radius(bound, 0.5) == pytest.approx(radius, abs=6e-5)


def test_radius_is_computed_in_float64():
    assert certified_radius(lower_bound(100_000, 100_000, 0.001), 0.5) == pytest.approx(1.905728, abs=5e-7)
    assert certified_radius(1 - 1e-9, 0.5) == pytest.approx(0.5 * -norm.ppf(1e-9), rel=1e-7)


@pytest.mark.parametrize("p_lower", [0.0, 0.3, 0.5])
def test_no_radius_without_a_majority(p_lower):
    assert certified_radius(p_lower, 0.5) == 0.0


@pytest.mark.parametrize(("radius", "count"), [(0, 50_490), (0.5, 84_492), (1.0, 97_870), (1.5, 99_900)])
def test_smallest_counts_are_the_known_ones(radius, count):
    assert smallest_count(100_000, 0.001, sigma=0.5, radius=radius) == count


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 0.0), (0.5, 0.5), (0.25, 0.5), (1.0, 0.1)])
def test_smallest_count_against_every_count(sigma, radius):
    counts = np.arange(1, 501)
    bounds = beta.ppf(0.001, counts, 501 - counts)
    good = counts[(bounds > 0.5) & (sigma * norm.ppf(bounds) >= radius)]
    expected = good[0] if len(good) else 501
    assert smallest_count(500, 0.001, sigma=sigma, radius=radius) == expected


def test_a_radius_beyond_reach_needs_more_votes_than_there_are():
    assert smallest_count(100, 0.001, sigma=0.25, radius=1.0) == 101


@pytest.mark.parametrize("probability", [0.01, 0.5, 0.841, 0.999])
def test_futility_count_against_every_count(probability):
    counts = np.arange(0, 500)
    futile = counts[binom.cdf(counts, 500, probability) < 1e-3]
    assert futility_count(500, 1e-3, probability=probability) == (futile[-1] if len(futile) else -1)


@pytest.mark.parametrize(("samples", "needed"), [(100, 300), (300, 200), (300, 480), (499, 481), (200, 501)])
def test_unpromising_count_against_the_beta_binomial_law(samples, needed):
    counts = np.arange(samples + 1)
    chance = betabinom.sf(needed - counts - 1, 500 - samples, counts + 1, samples - counts + 1)
    expected = np.flatnonzero(chance < 2e-3)[-1] if chance[0] < 2e-3 else -1
    assert unpromising_count(samples, 500, needed, 2e-3) == expected


def test_needed_probability_inverts_the_radius():
    assert needed_probability(0.5, 0.5) == pytest.approx(0.841345, abs=1e-6)
    assert certified_radius(needed_probability(0.3, 0.25), 0.25) == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize(("first", "second"), [(60, 40), (95, 5), (1, 0), (50, 50)])
def test_p_value_doubles_a_binomial_tail(first, second):
    expected = min(1.0, 2 * binom.sf(first - 1, first + second, 0.5))
    assert top_two_p_value(first, second) == pytest.approx(expected, rel=1e-9)
    assert top_two_p_value(first, second) == binomtest(first, first + second).pvalue


def test_p_value_without_a_vote_is_one():
    assert top_two_p_value(0, 0) == 1.0
