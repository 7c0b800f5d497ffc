import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.meta_analysis import combine_effects

from robust_transfer.report.analysis.sets import meta_regression, mixed_model


def test_without_covariates_it_is_the_random_effects_mean():
    random = np.random.Generator(np.random.Philox(1))
    within = random.uniform(1, 4, size=12)
    effects = 5 + 3 * random.standard_normal(12) + np.sqrt(within) * random.standard_normal(12)
    actual = meta_regression(effects, within, {})
    expected = combine_effects(effects, within, method_re="iterated", use_t=True)
    assert actual.between**2 == pytest.approx(expected.tau2, rel=1e-3)
    mean = actual.coefficients[0]
    assert mean.value == pytest.approx(expected.mean_effect_re, rel=1e-4)
    low, high = expected.conf_int()[3]  # Hartung, Knapp, Sidik, Jonkman
    assert (mean.low, mean.high) == pytest.approx((low, high), rel=1e-3)


def test_a_known_slope_is_found_and_covered():
    random = np.random.Generator(np.random.Philox(2))
    covered, slopes = [], []
    for _ in range(150):
        size = random.uniform(3, 5, size=12)
        within = random.uniform(0.5, 2, size=12)
        effects = (
            20 - 4 * size + 1.5 * random.standard_normal(12) + np.sqrt(within) * random.standard_normal(12)
        )
        slope = meta_regression(effects, within, {"log images": size}).coefficients[1]
        slopes.append(slope.value)
        covered.append(slope.low <= -4 <= slope.high)
    assert np.mean(slopes) == pytest.approx(-4, abs=0.3) and 0.89 < np.mean(covered) <= 1


def test_too_few_sets_or_equal_covariates_give_none():
    assert meta_regression([1.0, 2.0], [1.0, 1.0], {}) is None
    assert meta_regression([1.0, 2.0, 3.0, 4.0], [1.0] * 4, {"classes": [5.0] * 4}) is None


def test_a_balanced_mixed_model_is_the_analysis_of_variance():
    random = np.random.Generator(np.random.Philox(3))
    values = 8 + 4 * random.standard_normal((6, 1)) + 2 * random.standard_normal((6, 3))
    fit = mixed_model({f"set{i}": row for i, row in enumerate(values)})
    means, inside = values.mean(axis=1), values.var(axis=1, ddof=1).mean()
    assert fit.mean.value == pytest.approx(means.mean())
    assert fit.within_sets == pytest.approx(np.sqrt(inside), rel=1e-3)
    assert fit.between_sets == pytest.approx(np.sqrt(means.var(ddof=1) - inside / 3), rel=1e-3)
    low, high = stats.t.interval(0.95, 5, means.mean(), stats.sem(means))
    assert (fit.mean.low, fit.mean.high) == pytest.approx((low, high), rel=1e-3)


def test_an_unbalanced_mixed_model_is_that_of_statsmodels():
    random = np.random.Generator(np.random.Philox(4))
    effects = {
        f"set{i}": 3 + 2 * random.standard_normal() + random.standard_normal(n)
        for i, n in enumerate((2, 3, 5, 2, 4, 6, 3, 2))
    }
    actual = mixed_model(effects)
    groups = [name for name, values in effects.items() for _ in values]
    expected = MixedLM(np.concatenate(list(effects.values())), np.ones((len(groups), 1)), groups=groups).fit(
        reml=True
    )
    assert actual.mean.value == pytest.approx(expected.fe_params[0], rel=1e-3)
    assert actual.between_sets == pytest.approx(np.sqrt(expected.cov_re[0, 0]), rel=1e-2)
    assert actual.within_sets == pytest.approx(np.sqrt(expected.scale), rel=1e-2)
    half = (actual.mean.high - actual.mean.low) / 2
    assert half == pytest.approx(expected.bse_fe[0] * stats.t.ppf(0.975, 7), rel=1e-2)


def test_sets_that_do_not_differ_have_no_spread_between_them():
    fit = mixed_model({"a": [1.0, 3.0], "b": [2.0, 2.2], "c": [1.5, 2.6]})
    assert fit.between_sets == 0 and fit.mean.value == pytest.approx(12.3 / 6)


def test_one_model_a_set_has_no_spread_inside():
    assert mixed_model({"a": [1.0], "b": [2.0], "c": [4.0]}) is None
