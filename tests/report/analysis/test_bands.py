"""Bands cover a whole curve as often as they say, where intervals at each point do not."""

import numpy as np
import pytest

from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.bands import band, simultaneous_level


def curves(random, pretrainings, seeds, images, at, deviation):
    """Draw indicators of radius >= r: radii of images vary, and models shift them all."""
    shared = random.standard_normal((1, 1, images))
    models = deviation * random.standard_normal((pretrainings, seeds, 1))
    radii = shared + models + 0.5 * random.standard_normal((pretrainings, seeds, images))
    return [(radii >= r).astype(float) for r in at]


def rates(pretrainings, seeds, images, deviation, repeats, key):
    """Return how often the band, and the intervals at each point together, cover the true curve."""
    from scipy.special import ndtr

    random = np.random.Generator(np.random.Philox(key=[7, key]))
    at = np.linspace(-1.5, 1.5, 8)
    truth = ndtr(-at / np.sqrt(1.25 + deviation**2))
    both = []
    for _ in range(repeats):
        values = curves(random, pretrainings, seeds, images, at, deviation)
        found = band(values)
        points = [crossed.proportion(point) for point in values]
        both.append(
            (
                np.all((found.low <= truth) & (truth <= found.high)),
                np.all([m.low <= t <= m.high for m, t in zip(points, truth, strict=True)]),
            )
        )
    return np.mean(both, axis=0)


@pytest.mark.parametrize("pretrainings, seeds, images, deviation", [(1, 1, 200, 0.0), (1, 4, 200, 0.2)])
def test_the_band_covers_the_curve(pretrainings, seeds, images, deviation):
    whole, pointwise = rates(pretrainings, seeds, images, deviation, 60, 1)
    assert whole >= 0.95 - 0.03 - 3 * np.sqrt(0.95 * 0.05 / 60)
    assert pointwise <= whole


@pytest.mark.drill
@pytest.mark.parametrize("pretrainings, seeds", [(1, 1), (1, 3), (1, 5), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("images, deviation", [(100, 0.1), (500, 0.1), (500, 0.4)])
def test_the_band_covers_the_curve_over_a_grid(pretrainings, seeds, images, deviation):
    whole, _ = rates(pretrainings, seeds, images, deviation, 300, 2)
    assert whole >= 0.95 - 0.03 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_points_that_move_together_need_no_more_than_one_and_independent_ones_sidaks():
    random = np.random.Generator(np.random.Philox(9))
    one = random.standard_normal(500)
    assert simultaneous_level([one] * 10) == pytest.approx(0.95, abs=0.02)
    ten = [random.standard_normal(500) for _ in range(10)]
    assert simultaneous_level(ten) == pytest.approx(0.95 ** (1 / 10), abs=0.003)


def test_a_band_of_differences_may_be_negative():
    random = np.random.Generator(np.random.Philox(11))
    at = np.linspace(-1, 1, 5)
    ours, theirs = (curves(random, 1, 3, 300, at, 0.1) for _ in range(2))
    found = band([a - b for a, b in zip(ours, theirs, strict=True)], differences=True)
    assert (found.low < 0).all() and (found.high > 0).all() and found.level > 0.95
