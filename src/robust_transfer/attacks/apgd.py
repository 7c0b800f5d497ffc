"""Auto-PGD: projected gradient ascent with momentum that halves its own step size.

Croce & Hein 2020 (arXiv 2003.01690), Algorithm 1, as their code runs it.
"""

# B batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robust_transfer.attacks import threat
from robust_transfer.attacks.apgd_l1 import SparseSteps
from robust_transfer.attacks.guarded import Call, Sample, attack_guarded
from robust_transfer.attacks.rule import Rule
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.attacks.state import AttackResult, OnFinalised
from robust_transfer.models.callables import Model

MOMENTUM = 0.75
# A window in which at most this share of the steps raised the loss asks for a smaller step.
MIN_SHARE_OF_INCREASES = 0.75


def autopgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str = "l2",
    eps: float = 0.5,
    num_steps: int = 100,
    num_restarts: int = 1,
    loss: str = "ce",
    num_eot: int = 1,
    batch_size: int = 128,
    shapes: str = "ladder",
    storage: str = "float",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    start_noise: Tensor | None = None,
    guards: str = "fast",
    gradient_model: Model | None = None,
    fast: bool = True,
    on_finalised: OnFinalised | None = None,
    sample: Sample | None = None,
) -> AttackResult:
    """Attack each image by APGD until its first misclassified iterate, where it leaves the batch.

    Croce & Hein 2020 (arXiv 2003.01690), Algorithm 1. The flags are those of the authors' code when both are
    given the same noise; leaving early changes no flag, only the work.

    Note: the authors seed anew for every batch, so that their result depends on the batch size and on the
    order of the images. Here the noise of an image is its own: (seed, index, run).

    Parameters
    ----------
    model : from (B, C, H, W) images in [0, 1] to logits (B, K): a module, given back exactly as it came, or
        any function; outputs with `.logits` are taken, half and double weights run in their own arithmetic
    images : (B, C, H, W) floats in [0, 1], a tensor on any device or an array
    labels : (B,) whole numbers
    norm : "l2", "linf" or "l1" (`apgd_l1`: two runs in larger balls come first, and share the steps)
    eps : radius in the units of the images
    num_steps : gradient steps of a run; results at fewer than 100 are not comparable
    num_restarts : runs of an image that stays robust, each from its own noise
    loss : "ce", "dlr" (at least 3 classes) or "dlr_targeted" (at least 4; the 9 likeliest other classes)
    num_eot : gradients averaged per step, for models that are random by design: `robust` then holds the
        expected accuracy over 100 keyed draws at the point of worst mean loss (`randomised`)
    batch_size : most images of a forward pass
    shapes : "ladder": smaller forwards as images run out; "one": all have `batch_size`, so that an image
        alone ends at the same bits as among others
    storage : "8bit": points are rounded to 8 bit and judged again, in the ball
    index : (B,) names of the images, default 0..B-1
    start_noise : (num_restarts, B, C, H, W) standard normal, in place of the keyed noise
    guards : "full", "fast" or "off"
    gradient_model : the same function computed faster, for the attack's steps; `model` confirms hits
    fast : from some 3,000 gradients on, make such a model, hold it against `model`, and use it where it takes
        less time (`fast_copy`); not with shapes="one", nor with num_eot > 1
    on_finalised : told of outcomes as they become final, so that a long run can be kept piece by piece
    sample : images that the guards try the model on, where `images` are a part of what is attacked

    Raises
    ------
    EvaluationError
        When a guard refuses (its name is in the text) or a setting is impossible.
    """
    settings = AttackSettings(
        norm=norm,
        eps=eps,
        num_steps=num_steps,
        num_restarts=num_restarts,
        loss=loss,
        num_eot=num_eot,
        batch_size=batch_size,
        shapes=shapes,
        storage=storage,
        seed=seed,
        guards=guards,
        new_rule=auto_rule,
    )
    return attack_guarded(
        settings, Call(model, images, labels, index, start_noise, gradient_model, on_finalised, sample, fast)
    )


def checkpoint_windows(num_steps: int) -> list[int]:
    """Return for each number of steps taken (0..num_steps) the window that ends there, 0 for none.

    At 100 steps windows of 22, 19, 16, ... end at 22, 41, 57, 70, 80, 87, 93, 99.
    Note: lengths are cut to integers as in the authors' code; the paper rounds the positions up.
    """
    window, shortest, shrink = (max(int(share * num_steps), 1) for share in (0.22, 0.06, 0.03))
    ends = [0] * (num_steps + 1)
    end = window
    while end <= num_steps:
        ends[end] = window
        window = max(window - shrink, shortest)
        end += window
    return ends


def auto_rule(settings: AttackSettings, batch: Tensor) -> Rule:
    """Return the rule of APGD for the norm of the settings."""
    return SparseSteps(settings, batch) if settings.norm == "l1" else AutoSteps(settings, batch)


class AutoSteps(Rule):
    """The rule of APGD. Every number is per slot, so that slots may stand at different steps."""

    per_slot = (
        *("points", "previous", "best_points", "best_gradient"),
        *("step_size", "best_loss", "last_loss", "increases", "best_loss_at_check", "halved_at_check"),
    )
    needs_noise = True

    def __init__(self, settings: AttackSettings, batch: Tensor) -> None:
        self.norm, self.eps = settings.norm, settings.eps
        self.num_points = settings.num_steps + 1
        self.windows = torch.tensor(checkpoint_windows(settings.num_steps), device=batch.device)
        self.points, self.previous, self.best_points, self.best_gradient = (batch.clone() for _ in range(4))
        zeros = torch.zeros(len(batch), device=batch.device)
        self.step_size, self.best_loss, self.last_loss, self.increases = (zeros.clone() for _ in range(4))
        self.best_loss_at_check = zeros.clone()
        self.halved_at_check = torch.ones_like(zeros, dtype=torch.bool)

    def enter(self, slots: Tensor, images: Tensor, noise: Tensor) -> None:
        """Start on the boundary of the ball with a step of 2 eps."""
        start = threat.start_points(images, noise, norm=self.norm, eps=self.eps, reach=True)
        self.points[slots] = start
        self.previous[slots] = start
        self.step_size[slots] = 2 * self.eps
        self.best_loss[slots] = -torch.inf
        # The authors' code compares the first step's loss with 0, not with the loss at the start.
        self.last_loss[slots] = 0
        self.increases[slots] = 0
        self.halved_at_check[slots] = True

    def advance(self, images: Tensor, losses: Tensor, gradients: Tensor, step: Tensor) -> None:
        """Keep the best point, halve the step at a checkpoint that asks for it, and move."""
        better = losses > self.best_loss
        self.best_points = torch.where(better.view(-1, 1, 1, 1), self.points, self.best_points)
        self.best_gradient = torch.where(better.view(-1, 1, 1, 1), gradients, self.best_gradient)
        self.best_loss = torch.where(better, losses, self.best_loss)

        at_start = step == 0
        self.best_loss_at_check = torch.where(at_start, losses, self.best_loss_at_check)
        self.increases += ~at_start & (losses > self.last_loss)
        self.last_loss = torch.where(at_start, self.last_loss, losses)

        halve = self._check(self.windows[step])
        self.step_size[halve] /= 2
        # No reset: the momentum of the next step is the way from the last iterate to the best point.
        here = torch.where(threat.wide(halve), self.best_points, self.points)
        gradients = torch.where(threat.wide(halve), self.best_gradient, gradients)
        self._move(here, gradients, images, at_start)

    def _check(self, window: Tensor) -> Tensor:
        """Return which slots stand at a checkpoint and must halve their step: (B,) bool."""
        checked = window > 0
        # "at most", as in the code; the paper says "less than", which differs where 0.75 window is whole.
        oscillates = self.increases <= MIN_SHARE_OF_INCREASES * window
        stalls = ~self.halved_at_check & (self.best_loss_at_check >= self.best_loss)
        halve = checked & (oscillates | stalls)
        self.halved_at_check = torch.where(checked, halve, self.halved_at_check)
        self.best_loss_at_check = torch.where(checked, self.best_loss, self.best_loss_at_check)
        self.increases = torch.where(checked, torch.zeros_like(self.increases), self.increases)
        return halve

    def _move(self, here: Tensor, gradients: Tensor, images: Tensor, at_start: Tensor) -> None:
        """Take a projected gradient step, then mix it with the last movement and project again."""
        momentum = here - self.previous
        ahead = here + threat.wide(self.step_size) * threat.direction(gradients, norm=self.norm)
        ahead = threat.project(ahead, images, norm=self.norm, eps=self.eps)
        share = threat.wide(torch.where(at_start, 1.0, MOMENTUM))
        mixed = here + (ahead - here) * share + momentum * (1 - share)
        self.previous = here
        self.points = threat.project(mixed, images, norm=self.norm, eps=self.eps)
