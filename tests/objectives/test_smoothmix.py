import math

import pytest
import torch

from linear_network import Plane, grey
from robust_transfer.core import rng
from robust_transfer.objectives import Progress, build, consistency_loss, smoothmix_loss
from robust_transfer.objectives.smoothmix import drawn_mix
from steps import FIRST, assert_same_value_and_gradient, one_step, whole
from training_jobs import make_method

LABELS = torch.tensor([0, 1, 2, 0])
MIX = torch.tensor([0.0, 0.1, 0.3, 0.5], dtype=torch.float64)
SETTINGS = {"step_size": 0.05, "num_steps": 4, "num_noise_samples": 2, "sigma": 0.5, "mix_weight": 5.0}


def noise(purpose, copy):
    return rng.normal((4, 3, 2, 2), 0, purpose, copy).double()


def loops(clean, mixed):
    copies, count, classes = clean.shape
    total = 0.0
    for b in range(count):
        label = int(LABELS[b])
        mean = sum(clean[m, b].softmax(0) for m in range(copies)) / copies
        target = (1 - MIX[b]) * mean + MIX[b] / classes
        correct = float(mean.argmax() == label)
        for m in range(copies):
            total = total - torch.log(clean[m, b].softmax(0)[label])
            q = mixed[m, b].softmax(0)
            terms = [target[k] * (torch.log(target[k]) - torch.log(q[k])) for k in range(classes)]
            total = total + 5.0 * correct * sum(terms)
    return total / (copies * count)


def test_loss_and_gradient_against_loops():
    clean = rng.normal((2, 4, 3), 0, "clean").double()
    mixed = rng.normal((2, 4, 3), 0, "mixed").double()
    right = clean.softmax(2).mean(0).argmax(1) == LABELS
    assert right.any() and not right.all()
    assert_same_value_and_gradient(
        lambda a, b: smoothmix_loss(a, b, LABELS, MIX, 5.0), loops, clean, mixed, tolerance=1e-11
    )


def test_no_weight_leaves_the_cross_entropy_and_uniform_outputs_the_entropy():
    clean = (rng.normal((2, 4, 3), 0, "clean").double() + 4 * torch.eye(3).double()[LABELS]).double()
    uniform = torch.zeros_like(clean)
    plain = consistency_loss(clean, LABELS, 0.0, 0.0)
    torch.testing.assert_close(smoothmix_loss(clean, uniform, LABELS, MIX, 0.0), plain)
    half = torch.full((4,), 0.5, dtype=torch.float64)
    target = clean.softmax(2).mean(0) / 2 + 1 / 6
    entropy = -(target * target.log()).sum(1).mean()
    found = smoothmix_loss(clean, uniform, LABELS, half, 1.0) - plain
    torch.testing.assert_close(found, math.log(3) - entropy)


def test_underflowing_targets_have_finite_gradients():
    clean = (500 * torch.eye(3)[LABELS]).expand(2, 4, 3).clone().requires_grad_()
    mixed = (-500 * torch.eye(3)[LABELS]).expand(2, 4, 3).clone().requires_grad_()
    smoothmix_loss(clean, mixed, LABELS, MIX.float(), 5.0).backward()
    assert torch.isfinite(clean.grad).all() and torch.isfinite(mixed.grad).all()
    half = clean.detach().bfloat16()
    args = (LABELS, MIX.float(), 5.0)
    assert smoothmix_loss(half, half, *args) == smoothmix_loss(half.float(), half.float(), *args)


@pytest.mark.parametrize(("mix_step", "epoch", "moved"), [(0, 0, 0.0), (1, 0, 0.005), (1, 9, 0.05)])
def test_attack_goes_all_steps_along_the_plane_and_images_are_mixed_with_its_end(mix_step, epoch, moved):
    model, images, labels = Plane(), grey(4), torch.tensor([0, 1, 1, 0])
    objective = build(make_method("smoothmix", **SETTINGS, mix_step=mix_step, mix_warmup_epochs=10))
    progress = Progress(step=0, total=None, epoch=epoch, steps_per_epoch=5)
    clean, mixed = objective.prepare(model, whole(images, labels), noise, progress).images
    assert len(model.modes) == 4 and not any(model.modes) and not any(model.trained)
    sign = torch.where(labels == 1, 1.0, -1.0).double().view(4, 1, 1, 1)
    away = sign * model.towards_class_0()
    torch.testing.assert_close(clean, images + moved * away, rtol=0, atol=1e-9)
    mix = drawn_mix(noise).view(4, 1, 1, 1)
    assert mix.min() >= 0 and mix.max() <= 0.5
    expected = (1 - mix) * clean + mix * (images + 0.2 * away)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-9)


def test_step_is_the_loss_of_both_passes_under_one_noise_and_its_weight_grows():
    model, images, labels = Plane(), grey(4), torch.tensor([0, 1, 1, 0])
    objective = build(make_method("smoothmix", **SETTINGS, mix_step=0, mix_warmup_epochs=10))
    batch = whole(images, labels)
    views = objective.prepare(model, batch, noise, FIRST).images
    logits = [torch.stack([model(v + 0.5 * noise("smoothing", m)) for m in range(2)]) for v in views]
    for epoch, weight in ((0, 0.5), (3, 2.0), (20, 5.0)):
        progress = Progress(step=0, total=None, epoch=epoch, steps_per_epoch=5)
        loss, _ = one_step(objective, model, batch, noise, progress)
        torch.testing.assert_close(loss, smoothmix_loss(*logits, labels, drawn_mix(noise), weight))
