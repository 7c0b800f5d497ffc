"""Adversarial images as a file holds them: rounded to 8 bit, and judged again."""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from robust_transfer.attacks import losses, threat
from robust_transfer.attacks.exact import ExactModel, refuse_nonfinite
from robust_transfer.attacks.settings import ROUNDED, AttackSettings
from robust_transfer.attacks.state import AttackResult, AttackState, is_near_tie

LEVELS = 255
SAME_LEVEL = 1e-3
# A distance is measured in float64 of pixels that float32 rounds.
ROUNDING = 1e-5
Result = TypeVar("Result", bound=AttackResult)


def to_8bit(points: Tensor, images: Tensor, *, norm: str, eps: float) -> Tensor:
    """Round points (N, C, H, W) to 8 bit and keep them in the ball around 8-bit images.

    To the nearest of 256 levels; where that leaves the ball, all of an image's pixels towards the image,
    which only shortens the way. Around an image that is not of 8 bit itself that may leave the ball too: the
    image comes back then.
    """
    levels, centers = points.double() * LEVELS, images.double() * LEVELS
    # A level that float32 holds is not quite whole, and must not become its neighbour.
    levels = torch.where((levels - levels.round()).abs() < SAME_LEVEL, levels.round(), levels)
    towards = torch.where(levels > centers, levels.floor(), levels.ceil())
    found = images
    for rounded in (towards, levels.round()):
        stored = (rounded / LEVELS).to(points.dtype)
        inside = threat.distances(stored, images, norm=norm) <= eps * (1 + ROUNDING)
        found = torch.where(threat.wide(inside), stored, found)
    return found


def as_stored(
    settings: AttackSettings, model: ExactModel, state: AttackState, result: Result, positions: list[int]
) -> Result:
    """Return the result of the images at `positions` with its points as `settings.storage` holds them.

    Every attacked image is judged by its rounded point, whether it was broken or not.
    """
    if settings.storage != ROUNDED:
        return result
    clean, labels = state.clean[positions], state.labels[positions]
    attacked = result.clean_prediction == labels
    points = to_8bit(result.images, clean, norm=settings.norm, eps=settings.eps)
    points = torch.where(threat.wide(attacked.to(points.device)), points, clean)
    logits = model.logits(points).float().cpu()
    refuse_nonfinite("logits", ~logits.isfinite().all(1), state.index[positions])
    prediction = logits.argmax(1)
    return replace(
        result,
        images=points,
        robust=attacked & (prediction == labels),
        adversarial_prediction=prediction,
        distance=threat.distances(points, clean, norm=settings.norm).cpu(),
        loss=losses.cross_entropy(logits, labels, labels),
        near_tie=is_near_tie(logits, labels),
    )
