"""What 95 % intervals cover, and how often equal methods are called different.

Models are logistic: images, pre-trainings, seeds and label draws (which two methods share) shift the logit.
Of a method whose own replicates do not differ, two or three replicates cannot show that: there the intervals
are wider than they need be, and cover up to all. They never cover less than nominal by more than 3 points.
"""

import itertools

import numpy as np
import pytest

from robust_transfer.report.analysis import crossed

IMAGES = 1.5  # deviation of images, in logits
NOMINAL, SLACK = 0.95, 0.03


def logistic(x):
    return 1 / (1 + np.exp(-x))


def rates(pretrainings, seeds, images, deviation, repeats, *, key=0):
    """Return how often a cell's interval covers the truth, and how often equal methods are told apart."""
    random = np.random.Generator(
        np.random.Philox(key=[key, round(1e6 * pretrainings + 1e4 * seeds + images + 10 * deviation)])
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    spread = np.sqrt(IMAGES**2 + deviation**2 * ((seeds > 1) + (pretrainings > 1)))
    truth = float(logistic(0.7 + spread * nodes) @ weights / weights.sum())
    covered = different = 0
    for _ in range(repeats):
        normal = random.standard_normal

        def method(shared, networks, normal=normal):
            own = deviation * normal((1, seeds, 1)) * (seeds > 1) + deviation * normal((networks, 1, 1)) * (
                networks > 1
            )
            return (random.random((networks, seeds, images)) < logistic(shared + own)).astype(float)

        image = IMAGES * normal((1, 1, images))
        cell = crossed.proportion(method(0.7 + image, pretrainings))
        covered += cell.low <= truth <= cell.high
        shared = 0.5 + image + 0.3 * normal((1, seeds, 1))
        ours, theirs = method(shared, pretrainings), method(shared, pretrainings)
        change = crossed.mean(ours - theirs)
        different += change.low > 0 or change.high < 0
    return covered / repeats, different / repeats


def check(pretrainings, seeds, images, deviation, repeats, *, key=0):
    covered, different = rates(pretrainings, seeds, images, deviation, repeats, key=key)
    chance = 3 * np.sqrt(NOMINAL * (1 - NOMINAL) / repeats)  # of counting so many repeats
    where = f"P={pretrainings} S={seeds} N={images} sd={deviation}: covered {covered}, different {different}"
    assert covered >= NOMINAL - SLACK - chance, where
    assert different <= 1 - NOMINAL + SLACK + chance, where
    if seeds >= 5 and pretrainings == 1 and deviation > 0:
        assert covered <= NOMINAL + SLACK + chance, where


@pytest.mark.parametrize(
    "pretrainings, seeds, images, deviation",
    [(1, 2, 200, 0.6), (1, 3, 500, 0.3), (1, 3, 100, 0.0), (1, 5, 200, 1.0), (3, 2, 200, 0.3)],
)
def test_intervals_keep_their_level(pretrainings, seeds, images, deviation):
    check(pretrainings, seeds, images, deviation, repeats=150)


def false_verdicts(pretrainings, luck, repeats, *, sets=3, images=200):
    """Return how often the mean over sets says that a method without effect has one.

    Every pre-trained network has its own luck on all sets. Pairs with and without share a label draw.
    """
    random = np.random.Generator(np.random.Philox(key=[11, round(1e3 * luck) + pretrainings]))
    normal, wrong = random.standard_normal, 0
    for _ in range(repeats):
        network = luck * normal((pretrainings, 1, 1))
        changes = []
        for _ in range(sets):
            shared = 0.7 + IMAGES * normal((1, 1, images)) + 0.3 * normal((pretrainings, 1, 1))
            ours, none = (
                (random.random((pretrainings, 1, images)) < logistic(logits)).astype(float)
                for logits in (shared + network, shared)
            )
            changes.append(ours - none)
        mean = crossed.mean(*changes)
        wrong += mean.low > 0 or mean.high < 0
    return wrong / repeats


@pytest.mark.parametrize("pretrainings, luck", [(3, 0.0), (3, 0.4), (5, 0.4)])
def test_the_luck_of_networks_is_no_effect_of_their_method(pretrainings, luck):
    rate = false_verdicts(pretrainings, luck, 150)
    assert rate <= 1 - NOMINAL + SLACK + 3 * np.sqrt(NOMINAL * (1 - NOMINAL) / 150), rate


def test_of_one_network_nothing_shows_its_luck():
    # Why a sentence on one pre-training is a sentence on that network.
    assert false_verdicts(1, 0.4, 60) > 0.3


# 0, 0.1, 0.3, 0.6 and 0.9 logits are seed deviations of 0, 2, 5, 10 and 15 points.
GRID = [
    (1, seeds, images, deviation)
    for seeds, images, deviation in itertools.product(
        (2, 3, 5, 10), (100, 500, 2000), (0, 0.1, 0.3, 0.6, 0.9)
    )
] + [
    (pretrainings, seeds, images, deviation)
    for pretrainings, seeds, images, deviation in itertools.product(
        (2, 3, 5), (1, 2, 3), (100, 500), (0, 0.3, 0.6)
    )
]


@pytest.mark.drill
@pytest.mark.parametrize("pretrainings, seeds, images, deviation", GRID[::7])
def test_intervals_keep_their_level_over_a_part_of_the_grid(pretrainings, seeds, images, deviation):
    check(pretrainings, seeds, images, deviation, repeats=400, key=1)


@pytest.mark.drill_long
@pytest.mark.parametrize("pretrainings, seeds, images, deviation", GRID)
def test_intervals_keep_their_level_over_the_grid(pretrainings, seeds, images, deviation):
    check(pretrainings, seeds, images, deviation, repeats=1000, key=2)
