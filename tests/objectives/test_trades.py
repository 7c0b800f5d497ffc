import math

import pytest
import torch
from torch.nn import functional

from linear_network import Plane, grey
from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build, trades_loss
from small_model import small_model
from steps import assert_same_value_and_gradient, one_step, whole
from training_jobs import ATTACK, make_method

LABELS = torch.tensor([2, 0, 1])


def softmax(row):
    powers = [torch.exp(value - row.max()) for value in row]
    return [power / sum(powers) for power in powers]


def loops(clean, adversarial, beta):
    total = 0.0
    for a, b, label in zip(clean, adversarial, LABELS, strict=True):
        p, q = softmax(a), softmax(b)
        divergence = sum(p[k] * (torch.log(p[k]) - torch.log(q[k])) for k in range(len(p)))
        total = total - torch.log(p[label]) + beta * divergence
    return total / len(LABELS)


def logits(name, scale=2.0):
    return scale * rng.normal((3, 4), 0, name).double()


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_loss_and_gradient_against_loops(beta):
    assert_same_value_and_gradient(
        lambda a, b: trades_loss(a, b, LABELS, beta),
        lambda a, b: loops(a, b, beta),
        logits("clean"),
        logits("adversarial"),
    )


def test_closed_form_of_two_classes():
    a, b = 1.3, -0.4
    s, t = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
    expected = -math.log(s) + 6 * (s * math.log(s / t) + (1 - s) * math.log((1 - s) / (1 - t)))
    found = trades_loss(torch.tensor([[a, 0.0]]), torch.tensor([[b, 0.0]]), torch.tensor([0]), 6.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_equal_logits_leave_the_cross_entropy():
    clean = logits("clean")
    torch.testing.assert_close(
        trades_loss(clean, clean, LABELS, 6.0), functional.cross_entropy(clean, LABELS)
    )


def test_large_and_half_precision_logits_stay_finite():
    clean = logits("clean", 500.0).float().requires_grad_()
    trades_loss(clean, logits("adversarial", 500.0).float(), LABELS, 6.0).backward()
    assert torch.isfinite(clean.grad).all()
    half = logits("clean").bfloat16()
    assert trades_loss(half, half / 2, LABELS, 6.0) == trades_loss(
        half.float(), (half / 2).float(), LABELS, 6.0
    )


def test_published_start_of_linf_is_a_thousandth_of_the_draw():
    attack = ATTACK.__class__(norm="linf", eps=0.3, num_steps=1, step_size=0.1, random_start=True)
    model, images = Plane(), grey(2)
    draw = rng.normal(tuple(images.shape), 0, "start").double()
    objective = build(make_method("trades", attack=attack))
    objective.perturbed(model, whole(images, torch.tensor([0, 1])), lambda *_: draw)
    torch.testing.assert_close(model.inputs[1], images + 0.001 * draw, rtol=0, atol=1e-15)


def test_step_takes_two_separate_passes_in_train_mode():
    model = small_model(4).double().train()
    images, labels = (
        torch.rand(6, 3, 8, 8, generator=rng.generator(0, "images")).double(),
        torch.arange(6) % 4,
    )
    draw = rng.normal((6, 3, 8, 8), 0, "start").double()
    objective = build(make_method("trades"))
    batch = whole(images, labels)
    loss, metrics = one_step(objective, model, batch, lambda *_: draw)
    assert model.backbone.bn1.num_batches_tracked == 2
    adversarial = small_model(4).double().eval()  # the same weights, and statistics as before the step
    moved = objective.perturbed(adversarial, batch, lambda *_: draw)
    fresh = small_model(4).double().train()
    expected = trades_loss(fresh(images), fresh(moved), labels, 6.0)
    torch.testing.assert_close(loss, expected)
    assert metrics["divergence"] > 0


def test_a_start_at_the_image_is_refused():
    attack = ATTACK.__class__(norm="l2", eps=0.3, num_steps=1, step_size=0.1, random_start=False)
    with pytest.raises(ConfigError, match="no gradient at the image"):
        make_method("trades", attack=attack).check("finetune")
