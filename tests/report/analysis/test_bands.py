"""Bands cover a whole curve as often as they say, where intervals at each point do not."""

import numpy as np
import pytest
from scipy.special import ndtr

from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.bands import band, simultaneous_level

AT = np.linspace(-1.5, 1.5, 8)


def curves(random, pretrainings, seeds, images, deviation):
    """Draw indicators of radius >= r at each r, and the true curve, of all models and of these.

    Radii of images vary, and every model shifts them all.
    """
    shared = random.standard_normal((1, 1, images))
    models = deviation * random.standard_normal((pretrainings, seeds, 1))
    radii = shared + models + 0.5 * random.standard_normal((pretrainings, seeds, images))
    all_models = ndtr(-AT / np.sqrt(1.25 + deviation**2))
    these = ndtr((models.reshape(-1, 1) - AT) / np.sqrt(1.25)).mean(axis=0)
    return [(radii >= r).astype(float) for r in AT], all_models, these


def rates(pretrainings, seeds, images, deviation, repeats, key):
    """Return how often the band, and the intervals at each point together, cover the true curve."""
    random = np.random.Generator(np.random.Philox(key=[7, key]))
    both = []
    for _ in range(repeats):
        values, all_models, these = curves(random, pretrainings, seeds, images, deviation)
        curve = band(values)
        truth = all_models if curve.replicated else these
        means = [point.mean(axis=(0, 1)).reshape(1, 1, -1) for point in values]
        points = [crossed.proportion(v) for v in (values if curve.replicated else means)]
        both.append(
            (
                np.all((curve.low <= truth) & (truth <= curve.high)),
                np.all([m.low <= t <= m.high for m, t in zip(points, truth, strict=True)]),
            )
        )
    return np.mean(both, axis=0)


@pytest.mark.parametrize(
    "pretrainings, seeds, images, deviation", [(1, 1, 200, 0.0), (1, 3, 200, 0.4), (1, 5, 200, 0.2)]
)
def test_the_band_covers_the_curve(pretrainings, seeds, images, deviation):
    whole, pointwise = rates(pretrainings, seeds, images, deviation, 60, 1)
    assert whole >= 0.95 - 0.03 - 3 * np.sqrt(0.95 * 0.05 / 60)
    assert pointwise <= whole


@pytest.mark.drill
@pytest.mark.parametrize("pretrainings, seeds", [(1, 1), (1, 3), (3, 2), (1, 5), (5, 1), (5, 3)])
@pytest.mark.parametrize("images, deviation", [(100, 0.1), (500, 0.4)])
def test_the_band_covers_the_curve_over_a_grid(pretrainings, seeds, images, deviation):
    whole, pointwise = rates(pretrainings, seeds, images, deviation, 200, 2)
    assert whole >= 0.95 - 0.03 - 3 * np.sqrt(0.95 * 0.05 / 200)
    assert pointwise <= whole


def test_points_that_move_together_need_no_more_than_one_and_independent_ones_sidaks():
    random = np.random.Generator(np.random.Philox(9))
    one = random.standard_normal(500)
    assert simultaneous_level([one] * 10) == pytest.approx(0.95, abs=0.02)
    ten = [random.standard_normal(500) for _ in range(10)]
    assert simultaneous_level(ten) == pytest.approx(0.95 ** (1 / 10), abs=0.003)


def test_a_band_of_differences_may_be_negative():
    random = np.random.Generator(np.random.Philox(11))
    ours, theirs = (curves(random, 1, 3, 300, 0.1)[0] for _ in range(2))
    curve = band([a - b for a, b in zip(ours, theirs, strict=True)], differences=True)
    assert (curve.low < 0).all() and (curve.high > 0).all() and curve.level > 0.95
