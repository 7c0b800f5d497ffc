"""Models that draw random numbers, against closed forms."""

import math

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autopgd, pgd
from robust_transfer.attacks.checks import probes
from robust_transfer.attacks.randomised import NUM_DRAWS
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError

BRIEF = {"eps": 0.01, "num_steps": 2, "num_eot": 4}


class Flips(nn.Module):
    """Class 0 wherever the image goes, but a tenth of all answers is another, at random."""

    def __init__(self, share=0.1):
        super().__init__()
        self.share = share
        self.num_images = 0

    def forward(self, x):
        self.num_images += len(x)
        logits = 1e-3 * x.flatten(1)[:, :4]
        logits = logits + torch.tensor([4.0, 0, 0, 0])
        wrong = torch.rand(len(x)) < self.share
        return torch.where(wrong[:, None], logits.roll(1, 1), logits)


class NoisyPlane(nn.Module):
    """A linear margin plus noise: correct with probability Phi(margin / sigma)."""

    def __init__(self, sigma, per_pass=False):
        super().__init__()
        self.weight = nn.Parameter(rng.normal((12,), 0, "plane"))
        self.sigma, self.per_pass = sigma, per_pass

    def margin(self, x):
        return (x - 0.5).flatten(1) @ self.weight

    def forward(self, x):
        noise = torch.randn(1 if self.per_pass else len(x))
        margin = self.margin(x) + self.sigma * noise
        return torch.stack([margin / 2, -margin / 2], 1)


@pytest.fixture
def zeros(images):
    return torch.zeros(len(images), dtype=torch.int64)


@pytest.mark.slow
def test_accuracy_that_no_point_changes_is_measured_as_it_is(images, zeros):
    """Called broken where any iterate is once answered wrongly, nearly no image would stand."""
    result = autopgd(Flips(), images, zeros, **{**BRIEF, "num_steps": 20})
    assert result.robust.dtype == torch.float64
    assert float(result.robust.mean()) == pytest.approx(0.9, abs=4 * 0.3 / math.sqrt(40 * NUM_DRAWS))
    assert [flag.split(":")[0] for flag in result.flags] == ["randomised"]


@pytest.mark.slow
@pytest.mark.parametrize("per_pass", [False, True])
def test_expected_accuracy_of_a_noisy_plane_is_its_closed_form(images, per_pass):
    """Also where one number is drawn for all images of a pass: each draw then has a pass of its own."""
    net, eps = NoisyPlane(0.5, per_pass), 0.1
    flat = images[:20, :, :2, :2] * 0.2 + 0.4
    margins = net.margin(flat).detach()
    labels = (margins < 0).long()
    result = pgd(net, flat, labels, eps=eps, num_steps=8, num_eot=8)
    worst = margins.abs() - eps * net.weight.detach().norm()
    expected = torch.special.ndtr(worst.double() / net.sigma)
    spread = math.sqrt(float((expected * (1 - expected)).mean()) / (NUM_DRAWS * len(flat)))
    assert float(result.robust.mean()) == pytest.approx(float(expected.mean()), abs=5 * spread)
    assert (result.robust * 5 % 1).any(), "a hundred draws for each image, not a few that many copies share"
    assert float(result.robust.mean()) < float(torch.special.ndtr(margins.abs().double() / 0.5).mean()) - 0.05


def test_draws_belong_to_the_image(images, zeros):
    """Same seed, same numbers, whoever else is attacked, and the caller's generator is as it was."""
    state = torch.get_rng_state()
    whole = autopgd(Flips(), images[:6], zeros[:6], **BRIEF)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    part = autopgd(Flips(), images[3:6], zeros[3:6], index=[3, 4, 5], batch_size=2, **BRIEF)
    assert torch.equal(whole.robust[3:], part.robust) and torch.equal(whole.images[3:], part.images)
    other = autopgd(Flips(), images[:6], zeros[:6], seed=1, **BRIEF)
    assert not torch.equal(whole.robust, other.robust)


def test_every_step_averages_as_many_gradients_as_asked_for(images, zeros):
    counts = []
    for num_eot in (4, 7):
        net = Flips()
        result = autopgd(net, images[:3], zeros[:3], guards="off", **{**BRIEF, "num_eot": num_eot})
        counts.append(net.num_images)
        assert (result.gradient_steps == 3 * num_eot).all()
    assert counts[1] - counts[0] == 3 * 3 * (7 - 4)


def test_restarts_keep_the_worst_point(images):
    net = NoisyPlane(0.5)
    flat = images[:6, :, :2, :2] * 0.2 + 0.4
    labels = (net.margin(flat) < 0).long()
    kwargs = {"norm": "linf", "eps": 0.02, "num_steps": 1, "num_eot": 4, "step_size": 1e-5}
    one, many = (pgd(net, flat, labels, num_restarts=count, **kwargs) for count in (1, 4))
    assert (many.loss >= one.loss - 1e-12).all() and (many.loss > one.loss).any()


def test_a_randomised_model_is_refused_without_an_expectation(images, zeros):
    with pytest.raises(EvaluationError, match=r"^randomised:.*(?s:.*)num_eot=20"):
        autopgd(Flips(), images, zeros, num_steps=2)


class RarelyRandom(nn.Module):
    """Answers otherwise in one forward pass of many."""

    def __init__(self, model, odd):
        super().__init__()
        self.model, self.odd, self.passes = model, odd, 0

    def forward(self, x):
        self.passes += 1
        logits = self.model(x)
        return logits.roll(1, 1) if self.passes == self.odd else logits


@pytest.mark.parametrize("odd", [2, 5, 6])
def test_randomness_is_looked_for_more_than_once(model, images, labels, odd, monkeypatch):
    """The clean pass, a look at autograd, one reference, four repeats: the last of them is the seventh."""
    monkeypatch.setattr(probes, "RARE_REPEATS", 0)
    with pytest.raises(EvaluationError, match=r"^randomised:"):
        autopgd(RarelyRandom(model, odd + 1), images, labels, eps=0.3, num_steps=2)


def test_rare_randomness_is_not_taken_for_a_dependence_on_the_batch(model, images, labels):
    """Odd in the passes that compare an image alone and among others, and now and then afterwards."""

    class OneInSeven(nn.Module):
        passes = 0

        def forward(self, x):
            self.passes += 1
            logits = model(x)
            return logits.roll(1, 1) if self.passes > 7 and self.passes % 7 == 1 else logits

    with pytest.raises(EvaluationError, match=r"^randomised:"):
        autopgd(OneInSeven(), images, labels, eps=0.3, num_steps=2)


def test_answers_that_do_not_repeat_are_refused_after_the_attack(model, images, labels):
    """Randomness that no probe meets: it begins when the attack does."""

    class LateFlips(nn.Module):
        def __init__(self):
            super().__init__()
            self.passes = 0

        def forward(self, x):
            self.passes += 1
            logits = model(x)
            if self.passes < 60:
                return logits
            return torch.where(torch.rand(len(x), 1) < 0.05, logits.roll(1, 1), logits)

    with rng.global_state(0, "late"), pytest.raises(EvaluationError, match=r"^randomised:.*asked again"):
        autopgd(LateFlips(), images, labels, eps=0.3, num_steps=30, batch_size=16)
