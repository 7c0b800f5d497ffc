"""The looks and their shares of the error budget."""

from fractions import Fraction

import pytest

from robust_transfer.smoothing.looks import schedule


def test_exact_looks_once_with_the_whole_budget():
    assert [(look.samples, look.alpha) for look in schedule("exact", n=100_000, alpha=0.001)] == [
        (100_000, 0.001)
    ]


@pytest.mark.parametrize("mode", ["decide", "adaptive"])
def test_nine_looks_at_the_usual_n(mode):
    looks = schedule(mode, n=100_000, alpha=0.001)
    assert [look.samples for look in looks] == [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 100_000]
    assert [look.alpha for look in looks] == pytest.approx([0.2e-3 / 8] * 8 + [0.8e-3], rel=1e-12)


@pytest.mark.parametrize("n", [100, 500, 600, 1000, 10_000, 64_000, 64_100, 1_000_000])
@pytest.mark.parametrize("alpha", [0.001, 0.4, 1e-9])
def test_shares_never_add_up_to_more_than_alpha(n, alpha):
    looks = schedule("decide", n=n, alpha=alpha)
    samples = [look.samples for look in looks]
    assert samples == sorted(set(samples)) and samples[-1] == n and all(s % 100 == 0 for s in samples)
    total = sum(Fraction(look.alpha) for look in looks)
    assert abs(float(total / Fraction(alpha)) - 1) < 1e-12
