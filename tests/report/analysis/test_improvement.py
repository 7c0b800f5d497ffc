import numpy as np
import pytest

from robust_transfer.report.analysis.improvement import probability_of_improvement, profile


def test_it_is_the_share_of_pairs_that_are_better():
    ours, theirs = [np.array([3.0, 1.0]), np.array([5.0])], [np.array([2.0, 1.0]), np.array([6.0])]
    share = probability_of_improvement(ours, theirs)
    assert share.value == pytest.approx(((1 + 1 + 0 + 0.5) / 4 + 0) / 2)
    assert share.low <= share.value <= share.high


def test_one_model_a_set_has_no_interval():
    share = probability_of_improvement([np.array([1.0])], [np.array([0.0])])
    assert (share.value, share.low, share.high) == (1.0, None, None)


def test_the_truth_is_found():
    random = np.random.Generator(np.random.Philox(2))
    ours = [1 + random.standard_normal(30) for _ in range(4)]
    theirs = [random.standard_normal(30) for _ in range(4)]
    share = probability_of_improvement(ours, theirs)
    assert share.low < 0.7602 < share.high and share.high - share.low < 0.2  # Phi(1 / sqrt 2)


def test_a_profile_counts_sets_alike():
    sets = [np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.5])]
    assert profile(sets, np.array([0.0, 0.45, 0.7])) == pytest.approx([1, 0.75, 0.125])
