"""The settings of an attack, checked once, and the rule by which its points move."""

# B batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.core.errors import EvaluationError, did_you_mean

# The targets of a targeted loss: as many of the likeliest wrong classes as AutoAttack tries.
MAX_TARGETS = 9
GUARDS = ("full", "fast", "off")


class Rule(Protocol):
    """How the points of a batch move; all state is per slot, so that slots may be at different steps."""

    points: Tensor
    """(B, C, H, W): where the next gradient is taken."""

    best_points: Tensor
    """(B, C, H, W): the visited point of largest loss."""

    needs_noise: bool
    """Whether `enter` reads its noise."""

    def enter(self, slots: Tensor, images: Tensor, noise: Tensor) -> None:
        """Start anew in `slots` (S,) with images and standard normal noise (S, C, H, W)."""

    def advance(self, images: Tensor, losses: Tensor, gradients: Tensor, step: Tensor) -> None:
        """Take in loss (B,) and gradient (B, C, H, W) at the points, the `step`-th visited; then move on."""


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """What an attack does, whatever the model and the images.

    Parameters
    ----------
    norm, eps : the ball, in the units of the images
    num_steps : gradient steps of a run
    num_restarts : runs of an image that stays robust (for a targeted loss: per target)
    loss : a name of `losses.LOSSES`
    num_eot : gradients averaged per step
    batch_size : images of a forward pass
    seed : of the random starts
    guards : "full", "fast" or "off"
    new_rule : builds the attack's rule for a batch of images

    Raises
    ------
    EvaluationError : a value that no attack can work with
    """

    norm: str
    eps: float
    num_steps: int
    num_restarts: int = 1
    loss: str
    num_eot: int = 1
    batch_size: int
    seed: int
    guards: str
    new_rule: Callable[[AttackSettings, Tensor], Rule]

    def __post_init__(self) -> None:
        threat.check_ball(self.norm, self.eps)
        for name in ("num_steps", "num_restarts", "num_eot", "batch_size"):
            if getattr(self, name) < 1:
                raise EvaluationError(f"{name} must be at least 1 (found {getattr(self, name)})")
        if self.guards not in GUARDS:
            raise EvaluationError(
                f"unknown guards (expected one of {', '.join(GUARDS)}, found '{self.guards}')",
                did_you_mean(self.guards, GUARDS),
            )

    def num_runs(self, num_classes: int) -> int:
        """Return the most runs an image can take: restarts, for a targeted loss times the targets."""
        return self.num_restarts * (self.num_targets(num_classes) if self.loss in losses.TARGETED else 1)

    def num_targets(self, num_classes: int) -> int:
        """Return how many wrong classes a targeted loss tries: all others, at most nine."""
        return min(MAX_TARGETS, num_classes - 1)
