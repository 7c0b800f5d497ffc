"""Optimisers, learning-rate schedules as functions of the step, and the plateau rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.schedules import PlateauSchedule, Schedule, StepSchedule

LARS_TRUST_COEFFICIENT = 0.001  # eeta of You et al. 2017 (arXiv 1708.03888) in SimCLR's release


def build_optimizer(groups: Sequence[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    """Build the optimiser over what is trained in an objective's groups; the rate is set before every step.

    SGD decays every parameter, BatchNorm and biases included, as the study's code does. LARS leaves both out
    of weight decay and of the trust ratio (every tensor of one dimension); LARC leaves nothing out.
    """
    groups = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    common: dict[str, Any] = {
        "lr": config.lr,
        "momentum": config.momentum,
        "nesterov": config.nesterov,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "lars":
        from pytorch_optimizer import LARS  # imports many optimisers; only SimCLR needs one

        optimizer: torch.optim.Optimizer = LARS(groups, trust_coefficient=LARS_TRUST_COEFFICIENT, **common)
        return optimizer
    if config.optimizer == "larc":
        return LARC(groups, trust_coefficient=LARS_TRUST_COEFFICIENT, **common)
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = all(parameter.is_cuda and parameter.is_floating_point() for parameter in parameters)
    return torch.optim.SGD(groups, fused=fused, **common)


class LARC(torch.optim.SGD):
    """LARS that scales and decays every tensor, biases and BatchNorm's scales and shifts included.

    As SwAV (apex's LARC without clipping) and ACL train. The rate of a tensor w with gradient g is multiplied
    by trust |w| / (|g| + decay |w|), or by 1 where that is 0 or 0/0: a bias that begins at 0 takes its first
    step at the whole rate, which a warm-up makes small.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        trust_coefficient: float,
        weight_decay: float,
        **options: Any,
    ) -> None:
        groups = [{**group, "trust": trust_coefficient, "decay": weight_decay} for group in groups]
        super().__init__(groups, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Scale the gradients in place, then step as SGD does."""
        for group in self.param_groups:
            held = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not held:
                continue
            gradients = [parameter.grad for parameter in held]
            norms = torch.stack(torch._foreach_norm(held))
            below = torch.stack(torch._foreach_norm(gradients)) + group["decay"] * norms
            ratios = torch.where(norms * below > 0, group["trust"] * norms / below, 1.0)
            torch._foreach_add_(gradients, held, alpha=group["decay"])
            torch._foreach_mul_(gradients, list(ratios.unbind()))
        return super().step(closure)


def lr_at(
    step: int, config: TrainingConfig, *, steps_per_epoch: int, total_steps: int | None, drops: int = 0
) -> float:
    """Return the learning rate of an optimiser step, counted from 0.

    Warm-up is linear and reaches the peak in its last step: step i of w has (i + 1) / w of it, so that no
    step is spent at rate 0. `step` falls by gamma every `step_epochs` epochs; `cosine` falls to 0 at
    `total_steps`; `plateau` has fallen by gamma `drops` times.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    schedule = config.schedule
    if isinstance(schedule, StepSchedule):
        return config.lr * schedule.gamma ** (step // steps_per_epoch // schedule.step_epochs)
    if isinstance(schedule, PlateauSchedule):
        return config.lr * schedule.gamma**drops
    assert total_steps is not None, "cosine needs an end"
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total_steps - warmup)))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group, scaled where the group has an `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


@dataclass
class Plateau:
    """Drop the learning rate after `patience` epochs without a new best; end at the event after `max_drops`.

    The study's authors' rule for adversarial training: patience 30, two drops, end at the third event.
    """

    patience: int
    max_drops: int
    best: float = -math.inf
    epochs_since: int = 0
    drops: int = 0

    @classmethod
    def of(cls, schedule: Schedule) -> Plateau:
        """Begin a run's rule; that of another schedule is never updated."""
        if isinstance(schedule, PlateauSchedule):
            return cls(schedule.patience, schedule.drops)
        return cls(0, 0)

    def update(self, score: float) -> bool:
        """Take the score of one more epoch; return True where training ends."""
        if score > self.best:
            self.best, self.epochs_since = score, 0
            return False
        self.epochs_since += 1
        if self.epochs_since < self.patience:
            return False
        if self.drops == self.max_drops:
            return True
        self.drops, self.epochs_since = self.drops + 1, 0
        return False

    def state(self) -> dict[str, float | int]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "epochs_since": self.epochs_since, "drops": self.drops}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.best, self.epochs_since, self.drops = state["best"], state["epochs_since"], state["drops"]
