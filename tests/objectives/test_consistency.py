import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy
from torch import nn

from robust_transfer.config.methods import ConsistencyConfig
from robust_transfer.core import rng
from robust_transfer.objectives import build, consistency_loss
from steps import FIRST, whole
from training_jobs import make_method


def reference(logits, labels, consistency_weight, entropy_weight):
    """The formula of the paper, image by image, in float64 with SciPy."""
    losses = []
    for image in range(logits.shape[1]):
        log_p = log_softmax(logits[:, image].astype(np.float64), axis=1)
        p = np.exp(log_p)
        mean = p.mean(0)
        classification = -log_p[:, labels[image]].mean()
        divergence = np.mean([entropy(mean, p_i) for p_i in p])
        losses.append(classification + consistency_weight * divergence + entropy_weight * entropy(mean))
    return np.mean(losses)


@pytest.mark.parametrize("num_copies", [1, 2, 5])
def test_value_against_the_formula_in_float64(num_copies):
    logits = 3 * rng.normal((num_copies, 6, 4), 0, "logits")
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    found = consistency_loss(logits, labels, 5.0, 0.5)
    assert found.item() == pytest.approx(reference(logits.numpy(), labels.numpy(), 5.0, 0.5), rel=1e-5)


def test_weights_multiply_their_terms():
    logits, labels = rng.normal((2, 3, 4), 0, "logits"), torch.tensor([0, 1, 2])
    nothing = consistency_loss(logits, labels, 0.0, 0.0).item()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat(2)).item()
    assert nothing == pytest.approx(expected, rel=1e-6)
    # lambda = eta is the mean cross-entropy between pbar and the copies, the paper's other form.
    p = logits.double().softmax(2)
    cross = -(p.mean(0) * p.log().mean(0)).sum(1).mean().item()
    assert consistency_loss(logits, labels, 2.0, 2.0).item() == pytest.approx(nothing + 2 * cross, rel=1e-5)


def test_gradient_flows_through_the_mean_too():
    logits = rng.normal((3, 2, 4), 1, "logits").double().requires_grad_()
    labels = torch.tensor([1, 2])
    assert torch.autograd.gradcheck(lambda x: consistency_loss(x, labels, 5.0, 0.5), logits)


@pytest.mark.parametrize("scale", [60, 300])
def test_large_logits_have_the_float64_gradient(scale):
    wide = (scale * rng.normal((2, 8, 10), 2, "logits").double()).requires_grad_()
    narrow = wide.detach().float().requires_grad_()
    labels = torch.arange(8)
    consistency_loss(wide, labels, 5.0, 0.5).backward()
    consistency_loss(narrow, labels, 5.0, 0.5).backward()
    assert torch.isfinite(narrow.grad).all()
    torch.testing.assert_close(narrow.grad.double(), wide.grad, rtol=2e-3, atol=1e-5)


def test_half_precision_logits_are_widened_first():
    logits = rng.normal((2, 4, 5), 3, "logits").bfloat16()
    labels = torch.tensor([0, 1, 2, 3])
    assert consistency_loss(logits, labels, 5.0, 0.5) == consistency_loss(logits.float(), labels, 5.0, 0.5)


class Spy(nn.Module):
    """Remembers its inputs; its logits are sums of pixels."""

    def __init__(self):
        super().__init__()
        self.inputs = []
        self.weight = nn.Parameter(torch.ones(3, 12) / 7)

    def forward(self, images):
        self.inputs.append(images)
        return images.flatten(1) @ self.weight.T


def test_objective_adds_unclamped_noise_and_runs_all_copies_in_one_pass():
    config: ConsistencyConfig = make_method("cr", num_noise_samples=3, sigma=0.5)
    images, labels = torch.rand(2, 3, 2, 2, generator=rng.generator(0, "images")), torch.tensor([0, 2])
    draws = {copy: rng.normal((2, 3, 2, 2), 0, "noise", copy) for copy in range(3)}
    model = Spy()
    loss, metrics = build(config)(model, whole(images, labels), lambda purpose, copy: draws[copy], FIRST)

    (seen,) = model.inputs
    for copy in range(3):
        assert torch.equal(seen[2 * copy : 2 * copy + 2], images + 0.5 * draws[copy])
    assert seen.min() < 0 and seen.max() > 1
    logits = torch.stack([model(images + 0.5 * draws[copy]) for copy in range(3)])
    assert loss.item() == pytest.approx(consistency_loss(logits, labels, 5.0, 0.5).item(), rel=1e-6)
    parts = metrics["cross_entropy"] + 5.0 * metrics["consistency"] + 0.5 * metrics["entropy"]
    assert loss.item() == pytest.approx(parts.item(), rel=1e-6)
    assert math.isclose(metrics["accuracy"], (logits.argmax(2) == labels).float().mean(), rel_tol=1e-6)
