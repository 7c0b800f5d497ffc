import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from robust_transfer.core import statistics


@pytest.mark.parametrize("successes, n", [(0, 10), (10, 10), (1, 1), (251, 500), (37, 6149), (6148, 6149)])
def test_proportion_interval_is_statsmodels_beta(successes, n):
    low, high, method = statistics.proportion_interval(successes, n)
    expected = proportion_confint(successes, n, alpha=0.05, method="beta")
    assert (low, high) == pytest.approx(expected, abs=1e-12)
    assert method == "Clopper-Pearson"


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.97])
def test_proportion_interval_covers_at_least_95_percent_exactly(p):
    n = 60
    covered = [k for k in range(n + 1) if (b := statistics.proportion_interval(k, n))[0] <= p <= b[1]]
    assert stats.binom.pmf(covered, n, p).sum() >= 0.95


@pytest.mark.parametrize("successes, n", [(-1, 5), (6, 5), (0, 0)])
def test_proportion_interval_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="successes"):
        statistics.proportion_interval(successes, n)


def test_mean_interval_agrees_with_scipy_bootstrap():
    values = np.random.Generator(np.random.PCG64(1)).gamma(2.0, size=300)
    low, high, _ = statistics.mean_interval(values)
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=3
    ).confidence_interval
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=0.02)
    assert statistics.mean_interval(values) == (low, high, "bootstrap, percentile, 4000 resamples")


def test_mean_interval_of_equal_values_has_no_width():
    assert statistics.mean_interval([0.25] * 7)[:2] == (0.25, 0.25)


def test_index_resamples_in_chunks_are_those_of_one_piece(monkeypatch):
    whole = np.concatenate(list(statistics.index_resamples(50, np.random.Generator(np.random.Philox(5)))))
    monkeypatch.setattr(statistics, "CHUNK", 333)
    pieces = list(statistics.index_resamples(50, np.random.Generator(np.random.Philox(5))))
    assert len(pieces) > 1
    assert np.array_equal(np.concatenate(pieces), whole)


def test_mean_per_class_by_hand():
    # class 0: 1 of 2, class 3: 1 of 1, class 5: 0 of 3
    assert statistics.mean_per_class([0, 3, 0, 5, 5, 5], [1, 1, 0, 0, 0, 0]) == pytest.approx(0.5)


def test_holm_by_hand():
    # 3 x 0.01, then 2 x 0.03, then no smaller than that
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.5]) == [1.0, 1.0] and statistics.holm([]) == []


def test_fit_line_is_scipy_linregress():
    random = np.random.Generator(np.random.PCG64(4))
    x = random.normal(size=12)
    y = 1.5 * x - 0.3 + random.normal(size=12) * 0.4
    line, reference = statistics.fit_line(x, y), stats.linregress(x, y)
    assert (line.slope, line.intercept, line.r2) == pytest.approx(
        (reference.slope, reference.intercept, reference.rvalue**2), abs=1e-12
    )


@pytest.mark.parametrize("x, y", [([1, 2], [3, 4]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
def test_fit_line_of_too_little_is_nan(x, y):
    assert np.isnan(statistics.fit_line(x, y).r2)
