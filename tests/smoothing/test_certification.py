"""certify and predict against closed forms and against CERTIFY and PREDICT written with SciPy alone."""

import copy
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, norm
from torch import nn

from robust_transfer.core import rng
from robust_transfer.core.binomial import upper_bound
from robust_transfer.core.errors import ConfigError, EvaluationError
from robust_transfer.smoothing import certify, certify_counts, predict, predict_from, top_k
from robust_transfer.smoothing.bounds import two_class_radius
from robust_transfer.smoothing.counts import ClassCounts

SHAPE = (3, 4, 4)


class Linear(nn.Module):
    """Two classes; the logit difference is a linear function of the image, so that every radius is known."""

    def __init__(self, distance):
        super().__init__()
        weight = rng.normal(SHAPE, 0, "weight").double()
        self.register_buffer("weight", (weight / weight.norm()).float())
        self.register_buffer("offset", torch.tensor(distance) - (self.weight * image()).sum())

    def forward(self, images):
        margin = (images * self.weight).sum((1, 2, 3)) + self.offset
        return torch.stack([-margin, margin], dim=1)


def image():
    return torch.rand(SHAPE, generator=rng.generator(0, "image"))


@pytest.fixture(scope="module")
def net():
    with rng.global_state(2, "init"):
        layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(24, 5))


def noisy_predictions(model, purpose, samples, *, sigma, seed, index):
    """Classes of noisy copies of the image, by the documented key of each block."""
    first = {"select": 2**31, "estimate": 0}[purpose]
    blocks = [
        rng.normal((100, *SHAPE), seed, "certify", index, counter=first + b) for b in range(samples // 100)
    ]
    with torch.no_grad():
        return model(image() + sigma * torch.cat(blocks)).argmax(1).numpy()


def certify_with_scipy(model, *, sigma, n0, n, alpha, seed, index):
    guess = np.bincount(noisy_predictions(model, "select", n0, sigma=sigma, seed=seed, index=index)).argmax()
    estimate = noisy_predictions(model, "estimate", n, sigma=sigma, seed=seed, index=index)
    count = int((estimate == guess).sum())
    p_lower = beta.ppf(alpha, count, n - count + 1) if count else 0.0
    if p_lower <= 0.5:
        return -1, guess, count, 0.0
    return guess, guess, count, sigma * norm.ppf(p_lower)


@pytest.mark.parametrize("distance", [0.02, 0.3, -0.5, 1.0])
@pytest.mark.parametrize("sigma", [0.25, 0.5])
def test_a_linear_classifier_in_closed_form(distance, sigma):
    """Its smoothed probability is Phi(distance / sigma), its true radius the distance to the plane."""
    c = certify(Linear(distance), image(), sigma=sigma, n=10_000, seed=1)
    probability = norm.cdf(abs(distance) / sigma)
    assert c.guess == (distance > 0) or abs(distance) < 0.1
    assert c.radius <= abs(distance)
    assert c.p_lower <= probability <= upper_bound(c.count_top, c.num_samples, 1e-6) or c.guess != (
        distance > 0
    )
    if c.guess == (distance > 0):
        deviation = (probability * (1 - probability) / 10_000) ** 0.5
        assert abs(c.count_top / 10_000 - probability) < 4.5 * deviation + 1e-12
    if abs(distance) >= 0.3:
        needed = beta.ppf(0.001, round(probability * 10_000), 10_001 - round(probability * 10_000))
        assert c.prediction == (distance > 0)
        assert c.radius == pytest.approx(sigma * norm.ppf(needed), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["decide", "adaptive"])
def test_other_modes_never_claim_more_than_a_linear_classifier_has(mode):
    for index in range(20):
        c = certify(Linear(0.55), image(), n=20_000, mode=mode, index=index)
        assert c.prediction == 1 and 0.4 < c.radius <= 0.55
        assert mode == "adaptive" or c.radius >= 0.5 or c.samples_drawn == 20_000


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("sigma", [0.12, 0.5])
def test_certify_is_scipys(net, sigma, index):
    settings = {"sigma": sigma, "n0": 100, "n": 1000, "alpha": 0.01, "seed": 3, "index": index}
    prediction, guess, count, radius = certify_with_scipy(net.eval(), **settings)
    c = certify(net, image(), **settings)
    assert (c.guess, c.stopped, c.num_samples, c.samples_drawn) == (guess, "full", 1000, 1000)
    assert abs(c.count_top - count) <= c.near_ties
    assert c.prediction == prediction and c.alpha_spent == 0.01
    if c.count_top == count:
        assert c.radius == pytest.approx(radius, rel=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_predict_is_scipys(net, sigma):
    found = []
    for index in range(10):
        votes = noisy_predictions(net.eval(), "estimate", 200, sigma=sigma, seed=0, index=index)
        counts = np.bincount(votes, minlength=5)
        second, first = np.sort(counts)[-2:].tolist()
        sure = binomtest(first, first + second, 0.5).pvalue <= 0.001
        found.append(int(counts.argmax()) if sure else -1)
    assert found == [predict(net, image(), sigma=sigma, n=200, index=i) for i in range(10)]


def test_predict_abstains_near_a_boundary_and_only_there():
    assert predict(Linear(0.01), image(), n=100) == -1
    assert predict(Linear(0.5), image(), n=100) == 1
    assert predict(Linear(-0.01), image(), sigma=0) == 0


@pytest.mark.parametrize("mode", ["exact", "decide", "adaptive"])
def test_any_batch_size_gives_the_same_certificate(net, mode):
    settings = {"sigma": 0.25, "n": 2000, "mode": mode}
    expected = certify(net, image(), **settings)
    for batch_size in (32, 250):
        found = certify(net, image(), **settings, batch_size=batch_size)
        assert abs(found.count_top - expected.count_top) <= expected.near_ties
        assert found == expected or expected.near_ties


def test_the_label_skip_changes_no_accuracy(net):
    for index in range(5):
        free = certify(net, image(), sigma=0.25, n=500, index=index)
        for label in range(5):
            told = certify(net, image(), sigma=0.25, n=500, index=index, label=label)
            if label == free.guess:
                assert told == free
            else:
                assert (told.prediction, told.num_samples, told.stopped) == (-1, 0, "label")
            assert (told.prediction == label) == (free.prediction == label)


def test_sigma_zero_is_the_plain_classifier(net):
    expected = net.eval()(image()[None]).argmax().item()
    for label in (None, expected, (expected + 1) % 5):
        c = certify(net.train(), image(), sigma=0, label=label)
        assert (c.prediction, c.guess, c.radius, c.samples_drawn, c.stopped) == (
            expected,
            expected,
            0.0,
            0,
            "full",
        )


def test_a_constant_classifier_is_never_certified():
    """Every sample ties: an argmax would vote for class 0 each time and certify the largest radius."""

    class Constant(nn.Module):
        def forward(self, images):
            return torch.ones(len(images), 3)

    c = certify(Constant(), image(), n=1000)
    assert (c.prediction, c.radius, c.ties) == (-1, 0.0, 100)
    assert certify(Constant(), image(), sigma=0).prediction == -1


def test_nonfinite_logits_count_against_the_guess():
    class Broken(nn.Module):
        def forward(self, images):
            good = images.mean((1, 2, 3)) > image().mean() - 0.05
            one = torch.where(good, 1.0, torch.nan)
            return torch.stack([one, 0 * one], dim=1)

    c = certify(Broken(), image(), n=1000)
    selected = certify(Broken(), image(), n=100).nonfinite - (
        100 - certify(Broken(), image(), n=100).count_top
    )
    assert 0 < c.count_top < 1000 and c.count_top + c.nonfinite - selected == 1000


def test_modes_and_buffers_come_back(net):
    net.train()
    net[1].eval()
    flags, state = [m.training for m in net.modules()], {k: v.clone() for k, v in net.state_dict().items()}
    certify(net, image(), n=100)
    predict(net, image())
    assert [m.training for m in net.modules()] == flags
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (ConfigError, {"n": 150}),
        (ConfigError, {"batch_size": 0}),
        (ConfigError, {"alpha": 2}),
        (ConfigError, {"sigma": -1.0}),
        (ConfigError, {"mode": "fast"}),
        (EvaluationError, {"label": 2}),
        (EvaluationError, {"label": -1}),
    ],
)
def test_bad_calls_are_refused(error, change):
    with pytest.raises(error):
        certify(Linear(0.5), image(), **{"n": 100, **change})


def test_images_outside_the_unit_range_are_refused():
    for bad in (image() * 255, image() - 1, image()[None]):
        with pytest.raises(EvaluationError):
            certify(Linear(0.5), bad, n=100)
        with pytest.raises(EvaluationError):
            predict(Linear(0.5), bad)


@pytest.mark.parametrize("kind", [int, float, np.int64, torch.tensor, lambda label: torch.tensor([label])])
def test_a_label_of_any_type_skips(net, kind):
    guess = certify(net, image(), sigma=0.25, n=500).guess
    skipped = certify(net, image(), sigma=0.25, n=500, label=kind((guess + 1) % 5))
    assert (skipped.prediction, skipped.samples_drawn, skipped.stopped) == (-1, 0, "label")
    assert certify(net, image(), sigma=0.25, n=500, label=kind(guess)).stopped == "full"


def test_numbers_and_images_of_any_type(net):
    expected = certify(net, image(), sigma=0.25, n=1000, index=3)
    numbers = {"sigma": np.float32(0.25), "n0": 1e2, "n": torch.tensor(1000), "alpha": np.array(0.001)}
    assert certify(net, image().numpy(), **numbers, index=np.int64(3), batch_size=100.0) == expected
    del numbers["n0"]
    numbers |= {"sigma": np.array([0.1]), "index": torch.tensor([3]), "seed": 0.0}
    expected = certify(Linear(0.2), image(), sigma=0.1, n=1000, index=3)
    assert predict(Linear(0.2), image().tolist(), **numbers) == predict_from(expected.counts) == 1
    assert certify(net, image(), sigma=0.25, n=1000, mode="decide", radii=0.1) == certify(
        net, image(), sigma=0.25, n=1000, mode="decide", radii=torch.tensor([0.1])
    )


def test_functions_and_outputs_with_logits(net):
    expected = certify(net, image(), sigma=0.25, n=500)
    net.eval()
    assert certify(lambda images: net(images), image(), sigma=0.25, n=500) == expected
    assert certify(lambda images: SimpleNamespace(logits=net(images)), image(), sigma=0.25, n=500) == expected
    with pytest.raises(EvaluationError, match="returns a tuple"):
        predict(lambda images: (net(images), None), image())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_in_another_arithmetic(net, dtype):
    """Noise and sum stay float32: in double precision, only near ties may go the other way."""
    expected = certify(net, image(), sigma=0.25, n=1000)
    found = certify(copy.deepcopy(net).to(dtype), image(), sigma=0.25, n=1000)
    assert abs(found.count_top - expected.count_top) <= expected.near_ties + found.near_ties
    assert dtype == torch.float64 or found.near_ties > 10 * expected.near_ties


@pytest.mark.parametrize(
    "change",
    [
        {"n": float("nan")},
        {"n": "1000"},
        {"n": None},
        {"sigma": None},
        {"seed": 1.5},
        {"seed": None},
        {"index": -1},
        {"batch_size": 64.5},
        {"label": "cat"},
        {"label": 0.5},
        {"radii": None, "mode": "decide"},
        {"image": "cat.png"},
        {"image": [0.5]},
        {"n": torch.zeros(30, 30)},
        {"alpha": np.zeros((30, 30))},
        {"model": None},
        {"model": nn.Linear},
    ],
)
def test_wrong_arguments_are_one_line(net, change):
    for function in (certify, predict):
        arguments = {"model": net, "image": image(), "n": 100, **change}
        if function is predict and change.keys() & {"label", "radii"}:
            continue
        with pytest.raises((ConfigError, EvaluationError)) as caught:
            function(arguments.pop("model"), arguments.pop("image"), **arguments)
        assert "expected" in caught.value.what and "\n" not in caught.value.what


@given(st.lists(st.integers(0, 300), min_size=2, max_size=6), st.floats(1e-6, 0.4), st.integers(1, 7))
def test_predict_and_the_top_classes_from_the_votes_of_every_class(votes, alpha, k):
    order = np.argsort(-np.array(votes), kind="stable")
    first, second = votes[order[0]], votes[order[1]]
    sure = first + second > 0 and binomtest(first, first + second, 0.5).pvalue <= alpha
    voted = [int(name) for name in order if votes[name]]
    for kind in (int, float, np.int64, torch.tensor):
        counts = {name: kind(number) for name, number in enumerate(votes)}
        assert predict_from(counts, alpha=torch.tensor(alpha).double()) == (order[0] if sure else -1)
        assert top_k(ClassCounts(Counter(counts)), k=kind(k)) == voted[:k]


@pytest.mark.parametrize("counts", [None, [60, 40], {0: -1}, {0: 0.5}, {"cat": 3}, {0: None}])
def test_votes_that_are_no_counts_are_one_line(counts):
    for call in (lambda: predict_from(counts), lambda: top_k(counts, k=1)):
        with pytest.raises(ConfigError, match="expected") as caught:
            call()
        assert "\n" not in caught.value.what


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, float("nan"), True, np.zeros((30, 30)), [1, 2]])
def test_a_wrong_k_or_alpha_is_one_line(value):
    for call in (lambda: predict_from({0: 9}, alpha=value), lambda: top_k({0: 9}, k=value)):
        with pytest.raises(ConfigError, match="expected") as caught:
            call()
        assert "\n" not in caught.value.what


@pytest.mark.parametrize("votes", [float("nan"), 0.5, -1, 1001, None])
def test_votes_that_cannot_be_are_refused(votes):
    with pytest.raises(ConfigError, match="draw's votes="):
        certify_counts(lambda samples: votes, n=1000)


def test_counts_hold_the_votes_of_every_class(net):
    c = certify(net, image(), sigma=1.0, n=1000, seed=2)
    predicted = noisy_predictions(net.eval(), "estimate", 1000, sigma=1.0, seed=2, index=0)
    assert (
        np.abs(np.bincount(predicted, minlength=5) - [c.counts[k] for k in range(5)]).sum() <= 2 * c.near_ties
    )
    assert c.counts[c.guess] == c.count_top and len(c.counts) > 1


def test_the_two_class_radius_by_scipy(net):
    """Half of alpha for the guess; the other half for four classes, the silent samples being anybody's."""
    for index in range(6):
        c = certify(net, image(), sigma=0.5, n=1000, index=index)
        p_top = beta.ppf(0.0005, c.count_top, 1001 - c.count_top)
        runner_up = max(votes for name, votes in c.counts.items() if name != c.guess)
        runner_up += 1000 - sum(c.counts.values())
        p_other = min(beta.ppf(1 - 0.0005 / 4, runner_up + 1, 1000 - runner_up), 1 - p_top)
        radius = 0.25 * (norm.ppf(p_top) - norm.ppf(p_other)) if p_top > p_other else 0.0
        assert c.radius_two_class == pytest.approx(radius, rel=1e-9)


def test_two_classes_are_told_apart_where_one_has_no_majority():
    """p_A = 0.48 against nine classes of 0.058: CERTIFY abstains, the two-class bound does not."""

    class Spread(nn.Module):
        def forward(self, images):
            uniform = 0.5 * (1 + torch.erf((images[:, 0, 0, 0] - image()[0, 0, 0]) / (0.5 * 2**0.5)))
            chosen = torch.where(uniform < 0.48, 0, 1 + ((uniform - 0.48) / 0.52 * 9).long().clamp(0, 8))
            return nn.functional.one_hot(chosen, 10).float()

    c = certify(Spread(), image(), sigma=0.5, n=10_000)
    assert c.prediction == -1 and c.radius == 0.0
    assert 0.3 < c.radius_two_class < 0.36  # 0.25 (Phi^-1(0.48) - Phi^-1(0.058)) = 0.38, less the confidence


def test_a_false_two_class_radius_is_as_rare_as_alpha_says():
    """Of 20,000 simulated images at p = (0.4, 0.3, 0.3), radii above the true one; the 1 - 1e-5 quantile."""
    alpha, samples = 0.05, 500
    votes = np.random.default_rng(0).multinomial(samples, (0.4, 0.3, 0.3), size=20_000)
    true = 0.25 * (norm.ppf(0.4) - norm.ppf(0.3))
    settings = {"sigma": 0.5, "num_classes": 3}
    false = sum(
        two_class_radius(a, max(b, c), samples, alpha, **settings) > true for a, b, c in votes.tolist()
    )
    assert 0 < false <= binom.ppf(1 - 1e-5, 20_000, alpha)
