import math

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import single
from robust_transfer.objectives import Progress, build, free_perturbation
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.schedules import set_lr
from robust_transfer.training.step import TrainStep
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method, make_runtime


def test_a_step_of_the_perturbation_by_hand():
    delta = torch.tensor([0.3, -0.4, 0.0]).view(1, 3, 1, 1).double()
    gradient = torch.tensor([0.0, 3.0, 4.0]).view(1, 3, 1, 1).double()
    moved = torch.tensor([0.3, -0.4 + 0.6, 0.8]).double()
    found = free_perturbation(delta, gradient, norm="l2", eps=0.5, step_size=1.0).flatten()
    torch.testing.assert_close(found, 0.5 * moved / moved.norm())
    found = free_perturbation(delta, gradient, norm="linf", eps=0.35, step_size=0.3).flatten()
    torch.testing.assert_close(found, torch.tensor([0.3, -0.1, 0.3]).double())
    still = free_perturbation(delta, 0 * gradient, norm="l2", eps=0.5, step_size=1.0)
    torch.testing.assert_close(still, delta)


class Slope(nn.Module):
    """Logits (w s, 0) of the sum s of an image's pixels."""

    image_size = 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5).double())

    def forward(self, images):
        score = self.weight * images.flatten(1).sum(1, keepdim=True)
        return torch.cat((score, torch.zeros_like(score)), dim=1)


def test_two_replays_of_a_logistic_model_by_hand():
    """The perturbation moves by the gradient at the weights before the step, and counts in the next."""
    config = make_method("free", norm="linf", eps=0.1, batch_size=2, lr=1.0, momentum=0.0, weight_decay=0.0)
    objective = build(config)
    trained = objective.training_model(Slope(), {})
    optimizer = torch.optim.SGD(trained.parameters(), lr=1.0)
    images = torch.full((2, 3, 1, 1), 0.5).double()
    labels = torch.tensor([0, 1])
    w, delta = 0.5, [0.0, 0.0]
    for replay in range(2):
        objective.train_mode(trained)
        batch = objective.prepare(trained, whole(images, labels), None, FIRST)
        with objective.around_step(trained, None, FIRST):
            optimizer.zero_grad()
            loss, _ = objective(trained, batch, None, FIRST)
            loss.backward()
            optimizer.step()
        sums = [1.5 + 3 * d for d in delta]
        right = [1 / (1 + math.exp(-w * sums[0])), 1 / (1 + math.exp(w * sums[1]))]
        assert loss.item() == pytest.approx(-(math.log(right[0]) + math.log(right[1])) / 2), replay
        slope = (-(1 - right[0]) * sums[0] + (1 - right[1]) * sums[1]) / 2
        # The loss of class 0 falls with the score, that of class 1 grows with it.
        delta = [max(-0.1, delta[0] - 0.1), min(0.1, delta[1] + 0.1)]
        w -= slope
        assert trained.classifier.weight.item() == pytest.approx(w)
        torch.testing.assert_close(trained.perturbation[:, 0, 0, 0], torch.tensor(delta).double())


def test_saturated_pixels_do_not_move():
    objective = build(make_method("free", norm="linf", eps=0.1, batch_size=1))
    trained = objective.training_model(Slope(), {})
    trained.perturbation += 0.05
    images = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).double()
    objective.train_mode(trained)
    batch = objective.prepare(trained, whole(images, torch.tensor([1])), None, FIRST)
    with objective.around_step(trained, None, FIRST):
        objective(trained, batch, None, FIRST)[0].backward()
    # The loss grows with every pixel; the first one is beyond 1 already.
    torch.testing.assert_close(trained.perturbation.flatten(), torch.tensor([0.05, 0.1, 0.1]).double())


def test_parts_of_a_batch_carry_the_perturbations_of_their_own_places():
    found = []
    for micro_batch in (None, 2):
        config = make_method("free", batch_size=6, micro_batch=micro_batch)
        objective = build(config)
        trained = objective.training_model(small_model(3).double(), {})
        trained.perturbation += 0.1 * rng.normal(trained.perturbation.shape, 0, "carried").double()
        optimizer = build_optimizer(objective.param_groups(trained), config)
        set_lr(optimizer, 0.01)
        step = TrainStep(trained, optimizer, objective, config, make_runtime(), single("cpu"))
        objective.train_mode = lambda trained, begin=objective.train_mode: (begin(trained), trained.eval())
        pixels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=rng.generator(0, "pixels"))
        batch = Batch((pixels,), torch.arange(6) % 3, torch.arange(6), epoch=0)
        step(batch, Progress(0, 10, 0, 5))
        found.append(trained.perturbation)
    torch.testing.assert_close(*found)
