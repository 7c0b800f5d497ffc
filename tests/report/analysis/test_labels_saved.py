import numpy as np
import pytest

from robust_transfer.report.analysis.labels_saved import labels_saved
from robust_transfer.report.analysis.samples import Sample


def sample(random, share, images=2000, seeds=1):
    return Sample({(None, (s, s)): (random.random(images) < share).astype(float) for s in range(seeds)})


def curve(random, shares):
    return [(amount, sample(random, share)) for amount, share in shares.items()]


def test_four_times_the_labels_are_four_times():
    random = np.random.Generator(np.random.Philox(1))
    # Each doubling of the labels adds 10 points, and pre-training 20.
    none = curve(random, {2: 0.3, 4: 0.4, 8: 0.5, 16: 0.6, 32: 0.7})
    saved = labels_saved(4, sample(random, 0.6), none)
    assert saved.factor == pytest.approx(4, rel=0.25) and saved.low < 4 < saved.high
    assert saved.high / saved.low < 3


def test_a_height_that_is_never_reached_has_a_lower_bound_alone():
    random = np.random.Generator(np.random.Philox(2))
    none = curve(random, {2: 0.3, 4: 0.4, 8: 0.5})
    saved = labels_saved(2, sample(random, 0.8), none)
    assert saved.factor is None and saved.high is None and saved.low == pytest.approx(4)


def test_a_method_that_needs_more_labels_has_a_factor_below_1():
    random = np.random.Generator(np.random.Philox(3))
    none = curve(random, {2: 0.3, 4: 0.5, 8: 0.7})
    saved = labels_saved(8, sample(random, 0.5), none)
    assert saved.factor == pytest.approx(0.5, rel=0.2) and saved.high < 1


def test_the_interval_covers_the_truth():
    random = np.random.Generator(np.random.Philox(4))
    covered = []
    for _ in range(25):
        none = [(n, sample(random, p, 300, 1)) for n, p in ((2, 0.3), (8, 0.5), (32, 0.7))]
        saved = labels_saved(2, sample(random, 0.5, 300, 1), none)
        covered.append((saved.low is None or saved.low <= 4) and (saved.high is None or saved.high >= 4))
    assert np.mean(covered) >= 0.84


def test_without_shared_seeds_or_with_one_point_nothing_is_said():
    random = np.random.Generator(np.random.Philox(5))
    none = curve(random, {2: 0.3, 4: 0.4})
    stranger = Sample({(None, (9, 9)): np.ones(2000)})
    assert labels_saved(2, stranger, none) is None and labels_saved(2, none[0][1], none[:1]) is None
