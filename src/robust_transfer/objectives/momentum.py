"""A second network that follows the trained one: the moving average of its weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


def ema_decay(step: int, total_steps: int, base: float, final: float = 1.0) -> float:
    """Return the decay after an optimiser step, counted from 0: half a cosine from `base` to `final`.

    Grill et al. 2020 (arXiv 2006.07733), section 3.2: final - (final - base) (1 + cos(pi step / total)) / 2.
    """
    return final - (final - base) * (1 + math.cos(math.pi * step / total_steps)) / 2


def follower(online: nn.Module) -> nn.Module:
    """Return a frozen copy: no optimiser and no reduction of gradients sees it, a checkpoint does."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, decay: float) -> None:
    """Move target <- decay target + (1 - decay) online, in place.

    Parameters alone, as all releases do: the target's BatchNorm has statistics of its own batches.
    """
    pairs = zip(target.named_parameters(), online.named_parameters(), strict=True)
    targets: list[Tensor] = []
    onlines: list[Tensor] = []
    for (name, follows), (leads, value) in pairs:
        assert name == leads, "the target is a copy"
        targets.append(follows)
        onlines.append(value)
    torch._foreach_lerp_(targets, onlines, 1 - decay)
