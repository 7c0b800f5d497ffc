import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects

from robust_transfer.report.analysis.sets import meta_regression, mixed_model


def test_without_covariates_it_is_the_random_effects_mean():
    random = np.random.Generator(np.random.Philox(1))
    within = random.uniform(1, 4, size=12)
    effects = 5 + 3 * random.standard_normal(12) + np.sqrt(within) * random.standard_normal(12)
    found = meta_regression(effects, within, {})
    known = combine_effects(effects, within, method_re="iterated", use_t=True)
    assert found.between**2 == pytest.approx(known.tau2, rel=1e-3)
    mean = found.coefficients[0]
    assert mean.value == pytest.approx(known.mean_effect_re, rel=1e-4)
    low, high = known.conf_int()[3]  # Hartung, Knapp, Sidik, Jonkman
    assert (mean.low, mean.high) == pytest.approx((low, high), rel=1e-3)


def test_a_known_slope_is_found_and_covered():
    random = np.random.Generator(np.random.Philox(2))
    covered, found = [], []
    for _ in range(150):
        size = random.uniform(3, 5, size=12)
        within = random.uniform(0.5, 2, size=12)
        effects = (
            20 - 4 * size + 1.5 * random.standard_normal(12) + np.sqrt(within) * random.standard_normal(12)
        )
        slope = meta_regression(effects, within, {"log images": size}).coefficients[1]
        found.append(slope.value)
        covered.append(slope.low <= -4 <= slope.high)
    assert np.mean(found) == pytest.approx(-4, abs=0.3) and 0.89 < np.mean(covered) <= 1


def test_too_few_sets_or_equal_covariates_give_none():
    assert meta_regression([1.0, 2.0], [1.0, 1.0], {}) is None
    assert meta_regression([1.0, 2.0, 3.0, 4.0], [1.0] * 4, {"classes": [5.0] * 4}) is None


def test_a_balanced_mixed_model_is_the_analysis_of_variance():
    random = np.random.Generator(np.random.Philox(3))
    values = 8 + 4 * random.standard_normal((6, 1)) + 2 * random.standard_normal((6, 3))
    found = mixed_model({f"set{i}": row for i, row in enumerate(values)})
    means, inside = values.mean(axis=1), values.var(axis=1, ddof=1).mean()
    assert found.mean.value == pytest.approx(means.mean())
    assert found.within_sets == pytest.approx(np.sqrt(inside), rel=1e-3)
    assert found.between_sets == pytest.approx(np.sqrt(means.var(ddof=1) - inside / 3), rel=1e-3)
    from scipy import stats

    low, high = stats.t.interval(0.95, 5, means.mean(), stats.sem(means))
    assert (found.mean.low, found.mean.high) == pytest.approx((low, high), rel=1e-3)


def test_one_model_a_set_has_no_spread_inside():
    assert mixed_model({"a": [1.0], "b": [2.0], "c": [4.0]}) is None
