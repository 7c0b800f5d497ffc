"""What an attack is made of: its settings, its result, and the rule by which points move."""

# B batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.core.errors import EvaluationError

# The targets of a targeted loss: as many of the likeliest wrong classes as AutoAttack tries.
MAX_TARGETS = 9


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
class Attack:
    """The settings of an attack; eps in the units of the images, `new_rule` builds its rule for a batch."""

    norm: str
    eps: float
    num_steps: int
    num_restarts: int
    loss: str
    num_eot: int
    batch_size: int
    seed: int
    new_rule: Callable[[Attack, Tensor], Rule]

    def __post_init__(self) -> None:
        threat.check_ball(self.norm, self.eps)
        for name in ("num_steps", "num_restarts", "num_eot", "batch_size"):
            if getattr(self, name) < 1:
                raise EvaluationError(f"{name} must be at least 1 (found {getattr(self, name)})")

    def num_runs(self, num_classes: int) -> int:
        """Return the most runs an image can take: restarts, for a targeted loss times the targets."""
        return self.num_restarts * (self.num_targets(num_classes) if self.loss in losses.TARGETED else 1)

    def num_targets(self, num_classes: int) -> int:
        """Return how many wrong classes a targeted loss tries: all others, at most nine."""
        return min(MAX_TARGETS, num_classes - 1)


@dataclass
class AttackResult:
    """One entry per image, in the order given.

    Parameters
    ----------
    images : (B, C, H, W), inside ball and box: the first confirmed misclassified iterate; of a robust
        image the visited point of largest loss; a clean mistake unchanged
    robust : (B,) bool: correctly classified, and no iterate was misclassified
    clean_prediction, adversarial_prediction : (B,) int64, by the unmodified model, of the images given and
        returned
    distance : (B,) float64, recomputed from the returned images, at most eps (1 + 1e-5)
    loss : (B,) cross-entropy of the unmodified model at the returned images
    gradient_steps : (B,) int64: forward+backward passes the image took part in; 0 for a clean mistake
    near_tie : (B,) bool: decided by a logit margin so small that rounding could turn it
    flags : "guard: reason", each a reason to doubt the numbers
    record : what was checked and found without being a doubt
    """

    images: Tensor
    robust: Tensor
    clean_prediction: Tensor
    adversarial_prediction: Tensor
    distance: Tensor
    loss: Tensor
    gradient_steps: Tensor
    near_tie: Tensor
    flags: list[str] = field(default_factory=list)
    record: dict[str, str | int | float] = field(default_factory=dict)


OnSettled = Callable[[list[int], AttackResult], None]
"""Told, while an attack runs, the positions of images whose outcome is final, and the result of these alone.

The result holds the flags known by then. Some images stand in the final result alone: the last ones, and
those whose outcome a guard can still change.
"""
