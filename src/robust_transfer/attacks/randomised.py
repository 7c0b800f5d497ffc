"""Models that draw random numbers: expected accuracy over keyed draws at the point of worst mean loss.

Calling an image broken when any one draw at any one iterate is wrong measures luck: a model that is correct
in 90 % of its draws everywhere would seem to be robust on 0.9^101 of the images. Athalye et al. 2018 (arXiv
1802.00420): the gradient is that of the expectation, and so is the accuracy.
"""

# N images, C channels, H/W pixels, K classes, D draws

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.attacks.model import LogitModel
from robust_transfer.attacks.runner import AttackInputs, input_gradient
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackState
from robust_transfer.core import rng
from robust_transfer.core.numerics import exact_arithmetic

NUM_DRAWS = 100
# Copies of an image that share a forward: a constant, so that no setting changes what is drawn.
DRAWS_AT_ONCE = 20


def attack_randomised(
    settings: AttackSettings, inputs: AttackInputs, state: AttackState, names: Sequence[str] = ()
) -> None:
    """Attack each image by gradients of its mean loss; write expected accuracies to `state.robust`.

    Every image is attacked, as one that is mostly misclassified may be right in some draws, and never leaves
    early. What the model draws is keyed by (seed, purpose, image, ...): a point is evaluated on
    other draws than those that chose it.

    names : of the losses that are raised one after the other; default the settings' own
    """
    state.robust = torch.zeros(len(state.robust), dtype=torch.float64)
    draws = _Draws(settings, inputs)
    for position in range(len(inputs.images)):
        label, points = state.labels[position], []
        for loss in names or (settings.loss,):
            climbing = replace(settings, loss=loss)
            for run in range(climbing.num_runs(inputs.logits.shape[1])):
                points += _candidates(climbing, inputs, state, draws, position, run)
        losses_there = [_mean_loss(draws.at(point, "model_chosen", position), label) for point in points]
        worst = points[max(range(len(points)), key=losses_there.__getitem__)]
        logits = draws.at(worst, "model_judged", position)
        state.images[position] = worst[0].to(state.images)
        state.robust[position] = (logits.argmax(1) == label).double().mean()
        state.loss[position] = _mean_loss(logits, label)
        clean = draws.at(inputs.images[position : position + 1], "model_clean", position)
        state.clean_prediction[position] = clean.argmax(1).mode().values
        state.adversarial_prediction[position] = logits.argmax(1).mode().values
        state.near_tie[position] = False


def _candidates(
    settings: AttackSettings, inputs: AttackInputs, state: AttackState, draws: _Draws, position: int, run: int
) -> list[Tensor]:
    """Return the points (1, C, H, W) of one run that may be its worst: that of largest loss, and the last.

    The largest of many noisy means is often not the largest mean.
    """
    device = inputs.exact_model.device
    image = state.clean[position : position + 1].to(device)
    label = state.labels[position : position + 1].to(device)
    target = state.targets[position : position + 1, run // settings.num_restarts].to(device)
    rule = settings.new_rule(settings, image)
    noise = inputs.noise(settings, position, run)[None] if rule.needs_noise else image
    rule.enter(torch.zeros(1, dtype=torch.int64, device=device), image, noise.to(image))
    for step in range(rule.num_points):
        loss, gradient = draws.mean_loss(settings.loss, position, run, step, rule.points, label, target)
        bad = ~(loss.isfinite() & gradient.isfinite().all()).cpu().view(1)
        refuse_nonfinite("loss or gradient", bad, state.index[position : position + 1])
        state.gradient_steps[position] += settings.num_eot
        last = rule.points
        rule.advance(image, loss.view(1), gradient, torch.full((1,), step, device=device))
    ends = (rule.best_points, last)
    return [threat.tighten(point, image, norm=settings.norm, eps=settings.eps) for point in ends]


class _Draws:
    """Forwards of copies of one image, each draw keyed by what it is for."""

    def __init__(self, settings: AttackSettings, inputs: AttackInputs) -> None:
        self.settings, self.inputs = settings, inputs
        first = inputs.images[:1].to(inputs.exact_model.device)
        copies = first.expand(2, *first.shape[1:])
        with rng.global_state(settings.seed, "model_probe", device=first.device):
            one, other = self._logits(inputs.exact_model.model, copies)
        # Numbers drawn once per forward pass would be the same for all copies: those get a pass each.
        self.at_once = 1 if torch.equal(one, other) else DRAWS_AT_ONCE

    def mean_loss(
        self, loss: str, position: int, run: int, step: int, point: Tensor, label: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of a loss at a point (1, C, H, W) over `num_eot` draws, and its gradient."""
        count = self.settings.num_eot
        total, gradient = torch.zeros((), device=point.device), torch.zeros_like(point)
        for first, size in self._parts(count):
            points = point.detach().expand(size, *point.shape[1:]).clone().requires_grad_()
            with self._key("model_gradient", position, run, step, first), torch.enable_grad():
                logits = self._logits(self.inputs.gradient_model, points)
                values = losses.LOSSES[loss](logits, label.expand(size), target.expand(size))
                part = values.sum() / count
                gradient += input_gradient(part, points).sum(0, keepdim=True)
            total += part.detach()
        return total, gradient

    def at(self, point: Tensor, purpose: str, position: int) -> Tensor:
        """Return the logits (D, K) of draws at a point (1, C, H, W), on the CPU."""
        rows, point = [], point.to(self.inputs.exact_model.device)
        for first, size in self._parts(NUM_DRAWS):
            copies = point.expand(size, *point.shape[1:])
            with self._key(purpose, position, first):
                rows.append(self._logits(self.inputs.exact_model.model, copies).float().cpu())
        logits = torch.cat(rows)
        refuse_nonfinite("logits", ~logits.isfinite().all(), self.inputs.index[position : position + 1])
        return logits

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """Return the first draw and the size of each forward that `count` draws take."""
        return [(first, min(self.at_once, count - first)) for first in range(0, count, self.at_once)]

    def _key(self, purpose: str, position: int, *index: int) -> AbstractContextManager[None]:
        """Key what the model draws in one forward pass."""
        name, device = int(self.inputs.index[position]), self.inputs.exact_model.device
        return rng.global_state(self.settings.seed, purpose, name, *index, device=device)

    def _logits(self, model: LogitModel, images: Tensor) -> Tensor:
        exact = model is self.inputs.exact_model.model
        with exact_arithmetic(images.device) if exact else nullcontext():
            logits: Tensor = model(images)
            return logits


def _mean_loss(logits: Tensor, label: Tensor) -> float:
    labels = label.expand(len(logits))
    return float(losses.cross_entropy(logits, labels, labels).mean())
