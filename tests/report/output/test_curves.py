import re

import numpy as np
import pytest
from scipy import stats

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import curves
from synthetic_store import add_attack, add_certificates

COUNTS = [1000] * 30 + [900] * 20 + [800] * 20 + [600] * 10 + [None] * 20


def points(drawn, minus=False):
    """Return the (at, share, low, high) of a drawing's curves, or of its differences."""
    return np.array([row[2:] for row in drawn.rows if bool(row[1]) == minus]).T


def test_the_curve_starts_at_sa_passes_ra_and_its_area_is_acr(tmp_path):
    add_certificates(tmp_path, "digits", COUNTS)
    [run] = collect(tmp_path).runs
    at, share, low, high = points(curves.curve_figure([run]))
    assert share[0] == 100 * run.metrics["sa"] == 80
    assert share[at >= 0.5][0] == 100 * run.metrics["ra"]
    # between two points of the curve lies the value of the right one
    assert np.sum(np.diff(at) * share[1:]) / 100 == pytest.approx(run.metrics["acr"])
    exact = stats.binomtest(80, 100).proportion_ci(method="exact")
    assert low[0] < 100 * exact.low and high[0] > 100 * exact.high  # it covers the whole curve
    assert at[share > 0].max() == pytest.approx(1.2316, abs=1e-4)


def test_the_share_above_a_probability_is_that_above_its_radius(tmp_path):
    add_certificates(tmp_path, "digits", COUNTS)
    [run] = collect(tmp_path).runs
    radius, share, *_ = points(curves.curve_figure([run]))
    p, same, *_ = points(curves.curve_figure([run], curves.TOP_CLASS))
    at = stats.norm.cdf(radius[1:-1] / 0.5)
    assert p[1:-1] == pytest.approx(at) and same[1:-1] == pytest.approx(share[1:-1])


def test_seeds_are_averaged_and_models_subtracted(tmp_path):
    for seed, right in enumerate((20, 24, 30)):
        add_certificates(tmp_path, "digits", [900] * right + [None] * (40 - right), seed=seed)
        add_certificates(tmp_path, "digits", [900] * 36 + [None] * 4, seed=seed, pretrain="cr")
    runs = sorted(collect(tmp_path).runs, key=lambda run: run.cell.pretrain != "none")
    drawn = curves.curve_figure(runs)
    at, share, *_ = points(drawn)
    first = at == 0
    assert sorted(share[first]) == pytest.approx([100 * 74 / 120, 90])
    _, change, least, most = points(drawn, minus=True)
    assert change[0] == pytest.approx(90 - 100 * 74 / 120) and least[0] < change[0] < most[0]
    assert drawn.shape == (1, 2) and "1 pre-training x 3 seeds" in drawn.caption
    assert len(re.findall("band for these models", drawn.caption)) == 2  # three seeds show no spread of seeds
    assert all(run.key in drawn.source for run in runs)


@pytest.mark.parametrize(
    "add, says",
    [
        (
            lambda store: add_certificates(store, "digits", [900] * 30, settings={"mode": "decide"}),
            "mode decide",
        ),
        (lambda store: add_attack(store, "digits", 9, 5, 10), "expected certificates"),
    ],
)
def test_what_has_no_radii_has_no_curve(tmp_path, add, says):
    add(tmp_path)
    with pytest.raises(EvaluationError, match=says):
        curves.curve_figure(collect(tmp_path).runs)
