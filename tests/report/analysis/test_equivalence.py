import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from robust_transfer.report.analysis.equivalence import DIFFERENT, EQUIVALENT, OPEN, equivalence


def differences(random, share, count=2000):
    """Draw per-image differences of two models whose mean is `share`."""
    return np.where(random.random(count) < 0.05 + share, 1.0, 0.0) - (random.random(count) < 0.05)


def test_it_is_two_one_sided_tests():
    random = np.random.Generator(np.random.Philox(1))
    for share in (0.0, 0.005, 0.015, 0.03):
        values = differences(random, share)
        result = equivalence([values.reshape(1, 1, -1)], 0.02)
        p = DescrStatsW(values).ttost_mean(-0.02, 0.02)[0]
        assert (result.verdict == EQUIVALENT) == (p < 0.05)
        low, high = DescrStatsW(values).tconfint_mean(alpha=0.1)
        assert (result.low, result.high) == pytest.approx((low, high), abs=1e-6)


def test_no_difference_shown_is_not_equality_shown():
    random = np.random.Generator(np.random.Philox(2))
    few = differences(random, 0.0, 60).reshape(1, 1, -1)
    assert equivalence([few], 0.02).verdict == OPEN
    assert equivalence([differences(random, 0.1).reshape(1, 1, -1)], 0.02).verdict == DIFFERENT


def test_at_the_margin_equivalence_is_claimed_in_five_of_a_hundred():
    random = np.random.Generator(np.random.Philox(5))
    claimed = [
        equivalence([differences(random, 0.02, 1000).reshape(1, 1, -1)], 0.02).verdict == EQUIVALENT
        for _ in range(300)
    ]
    assert 0.01 < np.mean(claimed) < 0.09
