"""Learning rates and the length of a run as functions of the step, and the plateau rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.schedules import PlateauSchedule, Schedule, StepSchedule


def planned_steps(config: TrainingConfig, steps_per_epoch: int) -> int | None:
    """Return the optimiser steps until epochs or max_steps ends the run; None: only a plateau does."""
    ends = [config.max_steps, None if config.epochs is None else config.epochs * steps_per_epoch]
    return min((end for end in ends if end is not None), default=None)


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
