"""What an objective is asked for in a step, and in which order."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import single
from robust_transfer.objectives import Progress, build
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.schedules import set_lr
from robust_transfer.training.step import TrainStep
from small_model import small_model
from toy_methods import HookedConfig, PerturbedWeightsConfig, toy
from training_jobs import make_method, make_runtime

PROGRESS = Progress(step=7, total=20, epoch=1, steps_per_epoch=5)


def batch_of(size):
    pixels = torch.randint(0, 256, (size, 3, 8, 8), dtype=torch.uint8, generator=rng.generator(0, "pixels"))
    return Batch((pixels,), torch.arange(size) % 3, torch.arange(size), epoch=1)


def step_of(config, model):
    objective = build(config)
    optimizer = build_optimizer(objective.param_groups(model), config)
    return TrainStep(model, optimizer, objective, config, make_runtime(), single("cpu"))


@pytest.mark.parametrize(("micro_batch", "parts"), [(None, 1), (2, 3), (4, 2)])
def test_an_objective_is_asked_in_order_and_sees_what_it_prepared(micro_batch, parts):
    step = step_of(toy(HookedConfig, batch_size=6, micro_batch=micro_batch), small_model(3))
    step(batch_of(6), PROGRESS)
    expected = ["train_mode", *["prepare"] * parts, "enter", *["call"] * parts, "leave"]
    assert step.objective.calls == expected
    assert step.objective.progress is PROGRESS
    assert step.objective.moved, "the optimiser steps inside around_step"
    assert 0 < step.objective.largest <= 0.5, "the loss is of the prepared views"


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_backward_inside_around_step_is_of_the_whole_batch(micro_batch):
    """AWP by hand: g at w, the loss's gradient at w + r g, the step there, back by r g."""
    with rng.global_state(0, "init"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double()
    reference, batch = copy.deepcopy(model), batch_of(6)
    config = toy(PerturbedWeightsConfig, batch_size=6, micro_batch=micro_batch, weight_decay=0.0)
    step_of(config, model)(batch, PROGRESS)

    def gradient(weights):
        leaves = [weight.detach().requires_grad_() for weight in weights]
        logits = functional.linear((batch.images[0].double() / 255).flatten(1), *leaves)
        return torch.autograd.grad(functional.cross_entropy(logits, batch.labels), leaves)

    before = list(reference.parameters())
    moved = [w + 0.1 * g for w, g in zip(before, gradient(before), strict=True)]
    for found, start, g in zip(model.parameters(), before, gradient(moved), strict=True):
        torch.testing.assert_close(found, start - config.lr * g, rtol=1e-10, atol=1e-12)


def test_a_group_may_scale_the_learning_rate():
    model = small_model(3)
    head, rest = list(model.backbone.fc.parameters()), list(model.backbone.conv1.parameters())
    optimizer = build_optimizer([{"params": rest, "lr_scale": 0.1}, {"params": head}], make_method("st"))
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]


def test_a_gradient_that_is_too_long_is_shortened_and_its_length_reported():
    """With plain SGD the weights move by the rate times the clipped length."""
    config = make_method("st", batch_size=6, momentum=0.0, weight_decay=0.0, clip_grad_norm=0.01)
    model = small_model(3).double()
    before = [value.detach().clone() for value in model.parameters()]
    values = step_of(config, model)(batch_of(6), PROGRESS)
    moved = torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), before, strict=True)])
    assert values["grad_norm"] > 0.01
    assert moved.norm().item() == pytest.approx(config.lr * 0.01, rel=1e-4)
