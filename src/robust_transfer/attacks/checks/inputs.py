"""Checks of what goes into an attack and what the model makes of it: refuse, flag, or let pass.

A refusal raises `EvaluationError` before any number exists; a flag, "guard: reason", stays with the numbers.
Sources: Carlini et al. 2019 (arXiv 1902.06705), Athalye et al. 2018 (1802.00420), Pintor et al. 2022
(2106.09947).
"""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robust_transfer.attacks import threat
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.core.errors import EvaluationError


def check_shapes(images: Tensor, labels: Tensor) -> None:
    """Refuse what no attack can work on; these checks run at every level."""
    if torch.is_inference_mode_enabled():
        raise EvaluationError(
            "inference_mode: attacks need gradients (found torch.inference_mode switched on)"
        )
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise EvaluationError(
            "images: expected (B, C, H, W) floats in [0, 1], B at least 1 "
            f"(found {tuple(images.shape)} of {images.dtype})",
            *(["divide by 255"] if images.dtype == torch.uint8 else []),
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise EvaluationError(
            f"labels: expected ({len(images)},) int64 (found {tuple(labels.shape)} of {labels.dtype})"
        )


def names_of(index: Tensor | Sequence[int] | None, count: int) -> Tensor:
    """Return the names of the images, 0 to B - 1 where none are given."""
    names = torch.arange(count) if index is None else torch.as_tensor(index).cpu()
    if names.shape != (count,) or names.is_floating_point() or len(set(names.tolist())) < count:
        raise EvaluationError(
            f"index: expected {count} different integers (found {tuple(names.shape)} {names.dtype})"
        )
    return names


def check_noise(noise: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse start noise of another shape."""
    if noise is not None and noise.shape != shape:
        raise EvaluationError(
            f"start_noise: expected {shape}, (num_restarts, B, C, H, W) (found {tuple(noise.shape)})"
        )


def check_images(images: Tensor, index: Tensor) -> list[str]:
    """Refuse pixels that are not finite or outside [0, 1]; flag small or constant ones."""
    refuse_nonfinite("pixels", ~torch.isfinite(images.flatten(1)).all(1).cpu(), index)
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        hint = (
            "divide by 255"
            if low >= 0 and high > 2
            else "let the model's first layer normalise, not the data"
        )
        raise EvaluationError(f"images: expected pixels in [0, 1] (found {low:.4g} to {high:.4g})", hint)
    flags = []
    if high <= 2 / 255:
        flags.append(f"images: the largest pixel is {high:.3g}, as if divided by 255 twice")
    flat = images.flatten(1)
    constant = int((flat.amax(1) == flat.amin(1)).sum())
    if constant:
        flags.append(f"images: {constant} of {len(images)} are constant")
    return flags


def check_classes(labels: Tensor, logits: Tensor) -> None:
    """Refuse an output that is not one row of logits an image, and labels that are none of its classes."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise EvaluationError(
            f"logits: expected (B, K) with at least 2 classes (found {tuple(logits.shape)} for "
            f"{len(labels)} images)"
        )
    low, high, num_classes = int(labels.min()), int(labels.max()), logits.shape[1]
    if low < 0 or high >= num_classes:
        raise EvaluationError(
            f"labels: expected 0 to {num_classes - 1} for a model of {num_classes} classes (found {low} to "
            f"{high})"
        )


def check_logits(logits: Tensor, index: Tensor) -> None:
    """Refuse logits that are not finite, and probabilities, on which cross-entropy is computed wrongly."""
    refuse_nonfinite("logits", ~torch.isfinite(logits).all(1).cpu(), index)
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise EvaluationError(
            "probabilities: expected logits (found rows that are not negative and sum to 1)",
            "leave the softmax out of the model, or take its logarithm",
        )


def check_state(moved: list[str]) -> None:
    """Refuse a model that changed itself while it was evaluated."""
    if moved:
        raise EvaluationError(
            f"state: {len(moved)} buffers or parameters moved during evaluation (expected none, found "
            f"'{moved[0]}'); they have been set back",
            "use batch statistics only in train mode, and no optimisation inside forward",
        )


def check_distances(distances: Tensor, *, eps: float, index: Tensor) -> None:
    """Refuse images that ended outside the ball."""
    outside = distances > eps * (1 + 1e-5)
    if outside.any():
        first = int(index[outside.nonzero()[0, 0]])
        raise EvaluationError(
            f"distance: {int(outside.sum())} images lie outside the ball (expected at most {eps}, found "
            f"{float(distances.max())}, first at image {first})",
            "float32 cannot resolve so small an eps around pixels near 1",
        )


def check_autocast(device: torch.device) -> list[str]:
    """Flag autocast; hits are judged without it."""
    if torch.is_autocast_enabled(device.type):
        return ["autocast: was on, and was switched off wherever an image is judged"]
    return []


def check_eps(attack_norm: str, eps: float, images: Tensor) -> list[str]:
    """Flag a ball so large that it holds the whole box around every image."""
    diameter = box_diameter(attack_norm, images)
    return [f"eps: {eps} is as large as the box [0, 1] ({diameter:.4g})"] if eps >= diameter else []


def box_diameter(norm: str, images: Tensor) -> float:
    """Return the largest distance between two images of this shape."""
    corners = torch.ones_like(images[:1]), torch.zeros_like(images[:1])
    return float(threat.distances(*corners, norm=norm))
