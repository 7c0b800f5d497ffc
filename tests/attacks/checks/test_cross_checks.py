from dataclasses import replace

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autopgd, guarded, pgd
from robust_transfer.attacks.checks import cross_checks
from robust_transfer.attacks.checks.probes import spread
from robust_transfer.core import rng


def names(result):
    return {flag.split(":")[0] for flag in result.flags}


@pytest.fixture
def linear(images):
    with rng.global_state(0, "linear"):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    with torch.no_grad():
        return net, net(images).argmax(1)


def test_a_linear_model_passes_every_cross_check(linear, images):
    net, labels = linear
    assert autopgd(net, images, labels, eps=1.0, num_steps=20, batch_size=16, guards="full").flags == []


def test_robustness_that_no_ball_ends_is_flagged(images):
    """Class 0 wherever the image goes, and with a gradient all the same."""

    class Stubborn(nn.Module):
        def forward(self, x):
            return torch.stack([5 + 0 * x.sum((1, 2, 3)), x.mean((1, 2, 3))], 1)

    labels = torch.zeros(len(images), dtype=torch.int64)
    result = autopgd(Stubborn(), images, labels, num_steps=5, batch_size=16, guards="full")
    assert names(result) == {"huge_eps"}


def test_an_attack_that_needs_more_steps_is_flagged(images):
    """Short fixed steps cannot reach the plane; twice as many can."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with torch.no_grad():
        net[1].weight[0].fill_(1 / 192)
        net[1].weight[1].fill_(-1 / 192)
        net[1].bias.copy_(torch.tensor([-0.25, 0.25]))
    many = images.repeat(2, 1, 1, 1) * 0.2 + 0.4
    labels = torch.zeros(len(many), dtype=torch.int64)
    kwargs = {"norm": "linf", "eps": 0.3, "num_steps": 2, "step_size": 0.1, "random_start": False}
    kwargs |= {"batch_size": 16, "guards": "full"}
    result = pgd(net, many, labels, **kwargs)
    assert "not_converged" in names(result)


def test_a_weak_attack_is_outdone_by_one_step_and_by_noise(images):
    """A step far too short: the boundary is near, one step of eps and even noise cross it."""

    class Near(nn.Module):
        def forward(self, x):
            moved = (x - 0.5).abs().amax((1, 2, 3))
            return torch.stack([0.05 - moved, moved - 0.05], 1)

    grey = (images - 0.5) * 0.01 + 0.5
    labels = torch.zeros(len(grey), dtype=torch.int64)
    kwargs = {"norm": "linf", "eps": 0.1, "num_steps": 2, "step_size": 1e-4, "random_start": False}
    result = pgd(Near(), grey, labels, batch_size=16, guards="full", **kwargs)
    assert {"one_step", "random_noise"} <= names(result) and result.robust.all()


def test_an_attack_that_more_steps_weaken_is_flagged(monkeypatch, linear, images):
    """Step counts that trade places: the run with more steps is given a tenth of the radius."""
    net, labels = linear
    attack_all = cross_checks.attack_all

    def weaker(settings, inputs):
        if settings.num_steps > 5:
            settings = replace(settings, eps=settings.eps / 100)
        return attack_all(settings, inputs)

    monkeypatch.setattr(guarded, "SHARE", 0.5)
    reference = autopgd(net, images, labels, eps=2.0, num_steps=5, batch_size=16)
    assert not reference.robust.any()
    monkeypatch.setattr(cross_checks, "attack_all", weaker)
    result = autopgd(net, images, labels, eps=2.0, num_steps=5, batch_size=16, guards="full")
    assert names(result) == {"steps"}


def test_full_works_on_a_twentieth(monkeypatch, linear, images):
    net, labels = linear
    sizes = []
    attack_all = cross_checks.attack_all
    monkeypatch.setattr(
        cross_checks,
        "attack_all",
        lambda settings, inputs: (sizes.append(len(inputs.images)), attack_all(settings, inputs))[1],
    )
    autopgd(net, images, labels, eps=1.0, num_steps=3, batch_size=16, guards="full")
    assert sizes and set(sizes) == {2}  # of 40


def test_spread_is_even_and_whole():
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert spread([3, 5], 8) == [3, 5]
