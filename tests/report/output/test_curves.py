import numpy as np
import pytest
from scipy import stats

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import curves
from synthetic_store import add_attack, add_certificates


def test_certified_accuracy_by_brute_force():
    random = np.random.Generator(np.random.PCG64(1))
    correct, radius = random.integers(0, 2, 200), np.round(random.random(200), 2)
    at = np.round(np.linspace(0, 1.1, 56), 2)
    brute = [int(np.sum((correct == 1) & (radius >= r))) for r in at]
    assert curves.certified_accuracy(correct, radius, at).tolist() == brute


def test_the_curve_starts_at_sa_passes_ra_and_its_area_is_acr(tmp_path):
    counts = [1000] * 30 + [900] * 20 + [800] * 20 + [600] * 10 + [None] * 20
    add_certificates(tmp_path, "digits", counts)
    [run] = collect(tmp_path).runs
    rows = np.array([row[1:] for row in curves.curve_figure([run]).rows])
    at, share, low, high = rows.T
    assert share[0] == 100 * run.metrics["sa"] == 80
    assert share[at >= 0.5][0] == 100 * run.metrics["ra"]
    # between two points of the curve lies the value of the right one
    assert np.sum(np.diff(at) * share[1:]) / 100 == pytest.approx(run.metrics["acr"])
    exact = stats.binomtest(80, 100).proportion_ci(method="exact")
    assert (low[0], high[0]) == pytest.approx((100 * exact.low, 100 * exact.high))
    assert at[share > 0].max() == pytest.approx(1.2316, abs=1e-4)


def test_several_models_share_a_figure(tmp_path):
    add_certificates(tmp_path, "digits", [900] * 30)
    add_certificates(tmp_path, "digits", [700] * 30, pretrain="cr")
    runs = collect(tmp_path).runs
    drawn = curves.curve_figure(runs)
    assert {row[0] for row in drawn.rows} == {run.key for run in runs}
    assert all(run.key in drawn.name and run.key in drawn.source for run in runs)


def test_radii_that_say_yes_or_no_are_refused(tmp_path):
    add_certificates(tmp_path, "digits", [900] * 30, settings={"mode": "decide"})
    with pytest.raises(EvaluationError, match="mode decide"):
        curves.curve_figure(collect(tmp_path).runs)


def test_an_attack_has_no_curve(tmp_path):
    add_attack(tmp_path, "digits", 9, 5, 10)
    with pytest.raises(EvaluationError, match="expected certificates"):
        curves.curve_figure(collect(tmp_path).runs)
