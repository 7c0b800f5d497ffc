"""The rules of the three modes: error rates exactly and by simulation, agreement with the full run."""

from bisect import bisect_left
from functools import partial

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.stats import beta, binom, norm

from robust_transfer.smoothing import sequential
from robust_transfer.smoothing.bounds import certified_radius, lower_bound
from robust_transfer.smoothing.certification import certify_counts
from robust_transfer.smoothing.looks import Look
from robust_transfer.smoothing.sequential import Certificate, Progress, Rules

ALPHA, N = 0.001, 100_000
BOUNDARY = norm.cdf(1.0)  # radius 0.5 at sigma 0.5
MODES = ["exact", "decide", "adaptive"]


def smallest_false_count(look, probability):
    """The smallest count whose Clopper-Pearson bound claims `probability`, by SciPy's Beta quantile."""

    def claims(count):
        return beta.ppf(look.alpha, count, look.samples - count + 1) >= probability

    return bisect_left(range(look.samples + 1), True, lo=1, key=claims)


def false_certificate_rate(looks, probability):
    """P(some look's bound claims at least the true probability), by recursion over the looks.

    Any rule for stopping early can only stop some of these paths sooner: an upper bound for every mode.
    """
    distribution, drawn, crossed = np.ones(1), 0, 0.0
    for look in looks:
        step = binom.pmf(np.arange(look.samples - drawn + 1), look.samples - drawn, probability)
        distribution = np.maximum(fftconvolve(distribution, step), 0)
        drawn = look.samples
        least = smallest_false_count(look, probability)
        crossed += distribution[least:].sum()
        distribution[least:] = 0
    return crossed


def peeks(every):
    return [Look(samples, ALPHA) for samples in range(every, N + 1, every)]


def draws(increments):
    """Serve one image's votes look by look, and only for the numbers of samples between the looks."""
    waiting = list(increments)

    def draw(samples):
        asked, votes = waiting.pop(0)
        assert asked == samples, "draw is called once a look"
        return votes

    return draw


def simulated(mode, probabilities, seed):
    """One row of (samples, votes) a look for each image."""
    rng, looks = np.random.default_rng(seed), Rules(sigma=0.5, n=N, alpha=ALPHA, mode=mode).looks
    sizes = np.diff([0, *(look.samples for look in looks)])
    votes = rng.binomial(sizes, np.reshape(probabilities, (-1, 1)))
    return [list(zip(sizes.tolist(), row, strict=True)) for row in votes.tolist()]


@pytest.mark.parametrize(("mode", "share"), [("exact", 0.97), ("decide", 0.94), ("adaptive", 0.94)])
def test_false_certificates_at_the_boundary_exactly(mode, share):
    rate = false_certificate_rate(Rules(sigma=0.5, n=N, alpha=ALPHA, mode=mode).looks, BOUNDARY)
    assert rate <= ALPHA
    assert rate / ALPHA == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize("n", [500, 1000, 10_000])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_false_certificates_stay_below_alpha_elsewhere(n, probability):
    for mode in MODES:
        looks = Rules(sigma=0.5, n=n, alpha=0.01, mode=mode).looks
        assert false_certificate_rate(looks, probability) <= 0.01


@pytest.mark.parametrize(("every", "factor"), [(10_000, 5.3), (1000, 13.1)])
def test_naive_peeking_breaks_the_budget(every, factor):
    assert false_certificate_rate(peeks(every), BOUNDARY) / ALPHA == pytest.approx(factor, abs=0.1)


def test_the_rules_need_the_counts_of_the_recursion():
    """The states above and the code agree on where a certificate begins, at every look."""
    rules = Rules(sigma=0.5, n=N, alpha=ALPHA, mode="decide")
    for look in rules.looks:
        least = smallest_false_count(look, BOUNDARY)
        for count, claims in ((least, True), (least - 1, False)):
            bound = lower_bound(count, look.samples, look.alpha)
            assert (certified_radius(bound, 0.5) >= 0.5) == claims


def count_false(mode, images, seed):
    run = partial(certify_counts, n=N, alpha=ALPHA, mode=mode, radii=(0.5,), sigma=0.5)
    return sum(run(draws(row)).radius >= 0.5 for row in simulated(mode, [BOUNDARY] * images, seed))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_false_certificates_among_100_000_images(mode):
    """145 is the 1 - 1e-5 quantile of as many trials at alpha."""
    assert binom.ppf(1 - 1e-5, 100_000, ALPHA) == 145
    assert 0 < count_false(mode, 100_000, seed=1) <= 145


@pytest.mark.parametrize("mode", MODES)
def test_false_certificates_among_10_000_images(mode):
    assert count_false(mode, 10_000, seed=2) <= binom.ppf(1 - 1e-5, 10_000, ALPHA)


@pytest.mark.parametrize("mode", ["decide", "adaptive"])
def test_naive_peeking_fails_the_same_simulation(mode, monkeypatch):
    """Every look with the whole alpha, in our own rules: the simulation must see it."""

    def naive(mode, *, n, alpha):
        return tuple(peeks(10_000))

    monkeypatch.setattr(sequential, "schedule", naive)
    assert count_false(mode, 10_000, seed=3) > binom.ppf(1 - 1e-5, 10_000, ALPHA)


# Probabilities like those of published models: many near 1, some near each threshold, some lost.
MARGINS = np.random.default_rng(0).normal(1.0, 3.0, 1500)


@pytest.fixture(scope="module")
def population():
    rows = simulated("decide", norm.cdf(MARGINS), seed=4)
    full = [
        Rules(sigma=0.5, n=N, alpha=ALPHA).next(Progress(0, counts=(sum(v for _, v in row),))) for row in rows
    ]
    return rows, full


def test_decide_gives_the_full_runs_answers_for_a_thirtieth_of_the_samples(population):
    rows, full = population
    found = [certify_counts(draws(row), mode="decide", radii=(0.5,)) for row in rows]
    for radius in (0.0, 0.5):
        answers = [
            [c.prediction == 0 and c.radius >= radius for c in certificates] for certificates in (found, full)
        ]
        assert np.mean(np.equal(*answers)) >= 0.998
    assert np.mean([c.samples_drawn for c in found]) < N / 30
    assert {c.stopped for c in found} <= {"decided", "full"}


def test_decide_with_four_radii_answers_all_of_them(population):
    rows, full = population
    radii = (1.5, 0.5, 1.0)  # any order
    found = [certify_counts(draws(row), mode="decide", radii=radii) for row in rows]
    for radius in (0.0, *radii):
        agree = [(a.radius >= radius) == (b.radius >= radius) for a, b in zip(found, full, strict=True)]
        assert np.mean(agree) >= 0.995
    assert np.mean([c.samples_drawn for c in found]) < N / 4


@pytest.mark.parametrize("tolerance", [0.02, 0.1])
def test_adaptive_keeps_the_radius_within_the_tolerance(population, tolerance):
    rows, full = population
    found = [certify_counts(draws(row), mode="adaptive", tolerance=tolerance) for row in rows]
    acr, exact = (np.mean([c.radius for c in certificates]) for certificates in (found, full))
    assert (1 - tolerance) * exact <= acr <= 1.01 * exact
    assert np.mean([c.samples_drawn for c in found]) < 0.8 * N
    decided = [(a.radius >= 0.5) == (b.radius >= 0.5) for a, b in zip(found, full, strict=True)]
    assert np.mean(decided) >= 0.998
    for certificate in found:
        if certificate.stopped == "tolerance":
            rate = certificate.count_top / certificate.num_samples
            assert certificate.radius <= 0.5 * norm.ppf(min(rate, 1 - 1e-9))


@pytest.mark.parametrize("mode", MODES)
def test_a_certificate_can_be_computed_again_from_its_counts(population, mode):
    rows, _ = population
    for row in rows[:200]:
        row = row if mode != "exact" else [(N, sum(votes for _, votes in row))]
        c = certify_counts(draws(row), mode=mode)
        bound = beta.ppf(c.alpha_spent, c.count_top, c.num_samples - c.count_top + 1) if c.count_top else 0.0
        assert c.p_lower == pytest.approx(bound, rel=1e-10)
        assert c.prediction == (0 if bound > 0.5 else -1)
        assert c.radius == pytest.approx(0.5 * norm.ppf(bound) if bound > 0.5 else 0.0, rel=1e-9)
        looked = np.cumsum([size for size, _ in row])
        assert c.num_samples in looked and c.samples_drawn in looked and c.num_samples <= c.samples_drawn


def test_counts_read_back_give_the_state_that_live_counts_gave():
    """The journal's case: the state machine has no memory of its own."""
    row = simulated("decide", [norm.cdf(1.02)], seed=5)[0]
    live, rules = Progress(3), Rules(sigma=0.5, n=N, alpha=ALPHA, mode="decide")
    for _, votes in row:
        if isinstance(rules.next(live), Certificate):
            break
        live = live.after_look(votes, ties=1, near_ties=2)
    read = Progress(3, counts=live.counts, ties=live.ties, near_ties=live.near_ties)
    again = Rules(sigma=0.5, n=N, alpha=ALPHA, mode="decide", radii=(0.5, 0.0))
    assert again.next(read) == rules.next(live)
    assert rules.next(read).ties == len(live.counts) and rules.next(read).guess == 3


def test_a_certificate_that_cannot_come_ends_the_drawing():
    """Radius 3 at sigma 0.5 is beyond what 100,000 samples can show: radius 0 settles it."""
    c = certify_counts(draws([(500, 500)]), mode="decide", radii=(3.0,))
    assert (c.stopped, c.samples_drawn, c.prediction) == ("decided", 500, 0)


def test_hopeless_images_stop_at_the_first_look():
    for mode in ("decide", "adaptive"):
        c = certify_counts(draws([(500, 100)]), mode=mode)
        assert (c.stopped, c.prediction, c.radius, c.samples_drawn) == ("decided", -1, 0.0, 500)


def test_the_label_skip_draws_nothing():
    c = certify_counts(draws([]), False)
    assert (c.stopped, c.prediction, c.num_samples, c.radius) == ("label", -1, 0, 0.0)
    assert certify_counts(draws([(N, N)]), True) == certify_counts(draws([(N, N)]))


def test_without_a_vote_for_any_class_nothing_is_certified():
    c = Rules(sigma=0.5, n=N, alpha=ALPHA).next(Progress(-1, nonfinite=100))
    assert (c.prediction, c.stopped, c.nonfinite) == (-1, "decided", 100)
