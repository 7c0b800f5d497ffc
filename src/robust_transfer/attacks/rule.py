"""The rule by which the points of an attack move."""

# B slots of the batch, S of them, C channels, H/W pixels

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Rule(ABC):
    """How the points of a batch move; all state is per slot, so that slots may be at different steps.

    per_slot : names of the attributes that hold a row per slot
    points : (B, C, H, W): where the next gradient is taken
    best_points : (B, C, H, W): the visited point of largest loss
    needs_noise : whether `enter` reads its noise
    num_points : how many points a run visits
    first_counted : which of them is the first that lies in the ball, and so counts as a hit if misclassified
    """

    per_slot: tuple[str, ...]
    points: Tensor
    best_points: Tensor
    needs_noise: bool
    num_points: int
    first_counted: int = 0

    @abstractmethod
    def enter(self, slots: Tensor, images: Tensor, noise: Tensor) -> None:
        """Start anew in `slots` (S,) with images and standard normal noise (S, C, H, W)."""

    @abstractmethod
    def advance(self, images: Tensor, losses: Tensor, gradients: Tensor, step: Tensor) -> None:
        """Take in loss (B,) and gradient (B, C, H, W) at the points, the `step`-th visited; then move on."""

    def keep(self, slots: Tensor) -> None:
        """Go on with `slots` (S,) alone, in this order."""
        for name in self.per_slot:
            setattr(self, name, getattr(self, name)[slots])
