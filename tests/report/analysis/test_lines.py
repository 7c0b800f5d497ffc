import numpy as np
import pytest

from robust_transfer.report.analysis.lines import errors_line


def points(random, count, slope, *, spread, noise, correlation, scatter):
    """Draw points about a line, with correlated errors in both coordinates."""
    x = spread * random.standard_normal(count)
    y = 0.1 + slope * x + scatter * random.standard_normal(count)
    covariance = noise**2 * np.array([[1, correlation], [correlation, 1]])
    error = random.multivariate_normal([0, 0], covariance, size=count)
    return x + error[:, 0], y + error[:, 1], [covariance] * count


def test_exact_points_give_least_squares():
    x, y = np.array([0.0, 1, 2, 4, 5]), np.array([1.0, 3, 4, 9, 10])
    line = errors_line(x, y, [np.zeros((2, 2))] * 5)
    slope, intercept = np.polyfit(x, y, 1)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))


def test_the_true_slope_is_found_where_least_squares_is_drawn_to_0():
    random = np.random.Generator(np.random.Philox(3))
    settings = {"spread": 0.08, "noise": 0.04, "correlation": 0.1, "scatter": 0.02}
    fitted, covered, plain = [], [], []
    for _ in range(200):
        x, y, covariances = points(random, 12, 0.5, **settings)
        line = errors_line(x, y, covariances)
        if line is not None:
            fitted.append(line.slope)
            covered.append(line.low <= 0.5 <= line.high)
            plain.append(np.polyfit(x, y, 1)[0])
    assert len(fitted) > 185
    assert abs(np.median(fitted) - 0.5) < 0.04 < abs(np.median(plain) - 0.5)
    assert 0.91 < np.mean(covered) <= 1


def test_a_slope_that_noise_explains_draws_no_line():
    random = np.random.Generator(np.random.Philox(4))
    drawn = []
    for _ in range(200):
        x, y, covariances = points(random, 12, 0.0, spread=0.1, noise=0.03, correlation=0, scatter=0.05)
        line = errors_line(x, y, covariances)
        drawn.append(line is not None and line.tells)
    assert np.mean(drawn) < 0.09


def test_nothing_is_fitted_to_noise_or_to_three_points():
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 2, 3])
    assert errors_line(x, y, [5 * np.eye(2)] * 4) is None
    assert errors_line(x[:3], y[:3], [np.zeros((2, 2))] * 3) is None
