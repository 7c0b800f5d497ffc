import numpy as np
import pandas
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from robust_transfer.report.analysis import crossed


def random(seed):
    return np.random.Generator(np.random.PCG64(seed))


def mean_squares(values):
    """Mean squares of the crossed model, by ordinary least squares in statsmodels."""
    p, s, n = np.indices(values.shape)
    frame = pandas.DataFrame({"y": values.ravel(), "p": p.ravel(), "s": s.ravel(), "n": n.ravel()})
    table = anova_lm(smf.ols("y ~ C(p) * C(s) + C(p) * C(n) + C(s) * C(n)", frame).fit())
    return table["mean_sq"], table["df"]


def test_the_variance_is_that_of_crossed_random_effects_by_statsmodels():
    values = (
        random(1).normal(size=(3, 4, 6)) + random(2).normal(size=(3, 1, 1)) + random(3).normal(size=(1, 4, 1))
    )
    ms, df = mean_squares(values)
    runs = ms["C(p)"] + ms["C(s)"] - ms["C(p):C(s)"]
    common = ms["C(p):C(n)"] + ms["C(s):C(n)"] - ms["Residual"]
    variance = (max(runs - common, 0) + ms["C(n)"]) / values.size
    degrees = (variance * values.size) ** 2 / sum(ms**2 / df)
    low, high = stats.t.interval(0.95, degrees, values.mean(), np.sqrt(variance))
    actual = crossed.mean(values)
    assert (actual.low, actual.high) == pytest.approx((low, high), rel=1e-6)


def test_one_model_is_students_t():
    values = random(4).normal(0.1, size=60)
    actual, reference = crossed.mean(values[None, None]), stats.ttest_1samp(values, 0)
    assert actual.p == pytest.approx(reference.pvalue)
    assert (actual.low, actual.high) == pytest.approx(tuple(reference.confidence_interval()), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 80), (1, 3, 80), (1, 5, 80), (2, 1, 400), (1, 2, 400), (3, 2, 80)])
def test_tests_intervals_and_gains_agree(shape):
    for seed in range(20):
        theirs = (random(seed).random(shape) < 0.5).astype(float)
        ours = (random(100 + seed).random(shape) < 0.62).astype(float)
        actual, gain = crossed.mean(ours - theirs), crossed.ratio(ours, theirs)
        excludes = actual.low > 0 or actual.high < 0
        assert excludes == (actual.p < 0.05)
        if gain is None:  # by chance no run without pre-training is distinct from 0
            assert crossed.mean(theirs).low <= 0
            continue
        assert gain.p == pytest.approx(actual.p, rel=1e-6)
        assert (gain.low > 0 or gain.high < 0) == excludes
        assert gain.low < gain.value < gain.high


def test_fiellers_interval_by_its_formula():
    a, b = random(5).normal(3, 1, size=50), random(6).normal(2, 1, size=50)
    t, n = stats.t.ppf(0.975, 49), 50
    va, vb, cab = np.var(a, ddof=1) / n, np.var(b, ddof=1) / n, np.cov(a, b)[0, 1] / n
    roots = np.roots(
        [b.mean() ** 2 - t**2 * vb, -2 * (a.mean() * b.mean() - t**2 * cab), a.mean() ** 2 - t**2 * va]
    )
    actual = crossed.ratio(a[None, None], b[None, None])
    assert (actual.low + 1, actual.high + 1) == pytest.approx(tuple(sorted(roots)), rel=1e-5)


def test_a_ratio_to_what_may_be_0_is_not_told():
    values = np.zeros((1, 1, 50))
    values[..., :2] = 1
    assert crossed.ratio(np.ones((1, 1, 50)), values) is None


def test_a_mean_over_sets_is_given_these_sets():
    # Two sets of quite different means: that difference is no part of the interval.
    one, other = (shift + random(7).normal(size=(1, 1, 200)) for shift in (0.0, 5.0))
    actual = crossed.mean(one, other)
    alone = [crossed.mean(values) for values in (one, other)]
    half = np.hypot(*(m.high - m.value for m in alone)) / 2
    assert actual.value == pytest.approx((one.mean() + other.mean()) / 2)
    assert actual.high - actual.value == pytest.approx(half, rel=0.02)


def test_runs_that_sets_share_are_not_averaged_away():
    shared = random(8).normal(size=(4, 1, 1))
    sets = [shared + 0.01 * random(9 + k).normal(size=(4, 1, 50)) for k in range(5)]
    actual = crossed.mean(*sets)
    half = stats.t.ppf(0.975, 3) * np.std(shared, ddof=1) / 2
    assert actual.high - actual.value == pytest.approx(half, rel=0.1)


def test_a_proportion_stays_inside_0_and_1():
    values = np.zeros((1, 3, 50))
    values[0, 0, :3] = 1
    actual = crossed.proportion(values)
    assert 0 <= actual.low < actual.value < actual.high < 1
    none = crossed.proportion(np.zeros((1, 3, 50)))
    assert (none.low, none.high) == (0, pytest.approx(1 - 0.025 ** (1 / 50)))
