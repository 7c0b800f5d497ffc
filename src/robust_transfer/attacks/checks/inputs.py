"""Checks of what goes into an attack and what the model makes of it: refuse, flag, or let pass.

A refusal raises `EvaluationError` before any number exists; a flag, "guard: reason", stays with the numbers.
Sources: Carlini et al. 2019 (arXiv 1902.06705), Athalye et al. 2018 (1802.00420), Pintor et al. 2022
(2106.09947).
"""

# N images, C channels, H/W pixels, K classes

from __future__ import annotations

import torch
from torch import Tensor

from robust_transfer.attacks import losses, notes, threat
from robust_transfer.attacks.exact import refuse_nonfinite
from robust_transfer.attacks.model import MASKED, LogitModel
from robust_transfer.attacks.state import AttackState
from robust_transfer.core.errors import EvaluationError

# Pixels near 1 are resolved to 6e-8: a smaller ball has no room for ten steps.
SMALLEST_EPS = 1e-6
# Pixels of images that were divided by 255 twice, with one bit to spare.
DARKEST = 2 / 255
FEWEST = 20  # images of which one should be classified correctly
# Logits resolved no finer than this share of their leading differences are decided by rounding.
COARSE = 1e-3


def check_images(images: Tensor, index: Tensor, state: AttackState) -> None:
    """Refuse pixels that are not finite or outside [0, 1]; note dark and constant images."""
    refuse_nonfinite("pixels", ~torch.isfinite(images.flatten(1)).all(1).cpu(), index)
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        hint = (
            "divide by 255"
            if low >= 0 and high > 2
            else "let the model's first layer normalise, not the data"
        )
        raise EvaluationError(f"images: expected pixels in [0, 1] (found {low:.4g} to {high:.4g})", hint)
    flat = images.flatten(1)
    state.note(notes.DARK, positions_of(flat.amax(1) <= DARKEST))
    state.note(notes.CONSTANT, positions_of(flat.amax(1) == flat.amin(1)))


def positions_of(found: Tensor) -> list[int]:
    """Return where a (N,) bool tensor is set."""
    positions: list[int] = found.nonzero().flatten().tolist()
    return positions


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


def check_logits(logits: Tensor, labels: Tensor, index: Tensor, state: AttackState) -> None:
    """Refuse logits that are not finite or masked, and probabilities, whose cross-entropy would be wrong.

    Noted: a constant so large beside the differences between classes that float32 rounds these away.
    """
    refuse_nonfinite("logits", ~torch.isfinite(logits).all(1).cpu(), index)
    masked = losses.take(logits, labels.to(logits.device)) <= MASKED
    if masked.any():
        raise EvaluationError(
            f"masked: the label's own logit is masked on {int(masked.sum())} images (expected on none)",
            "leave these images out, or their classes in",
        )
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise EvaluationError(
            "probabilities: expected logits (found rows that are not negative and sum to 1)",
            "leave the softmax out of the model, or take its logarithm",
        )
    coarse = losses.resolution(logits) > COARSE * losses.top_scale(logits)
    state.note(notes.OFFSET, positions_of(coarse))


def check_clean(logits: Tensor, labels: Tensor) -> list[str]:
    """Flag an attack on images of which none is classified correctly: there is nothing to break."""
    if len(labels) < FEWEST or (logits.argmax(1) == labels.to(logits.device)).any():
        return []
    return [f"clean: none of {len(labels)} images is classified correctly; look at the order of the labels"]


def check_state(moved: list[str]) -> None:
    """Refuse a model that changed itself while it was evaluated."""
    if moved:
        raise EvaluationError(
            f"state: {len(moved)} buffers or parameters moved during evaluation (expected none, found "
            f"'{moved[0].removeprefix('model.')}'); they have been set back",
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
    """Flag autocast; hits are evaluated without it."""
    if torch.is_autocast_enabled(device.type):
        return ["autocast: was on, and was switched off wherever an image is evaluated"]
    return []


def check_precision(model: LogitModel) -> list[str]:
    """Flag half precision in the exact model: its rounding decides near ties and flattens gradients."""
    return [f"low_precision: images are evaluated with {model.dtypes()}"] if model.is_low_precision() else []


def check_eps(norm: str, eps: float, images: Tensor) -> list[str]:
    """Refuse a ball that float32 cannot resolve; flag one as large as the box, and one of another norm."""
    if eps < SMALLEST_EPS:
        raise EvaluationError(
            f"eps: {eps:g} is lost in the rounding of pixels (expected at least {SMALLEST_EPS:g})",
            "eps is in units of [0, 1] pixels",
        )
    diameter = box_diameter(norm, images)
    if eps >= diameter:
        return [f"eps: {eps} is as large as the box [0, 1] ({diameter:.4g})"]
    levels = eps * 255
    if norm == "l2" and levels <= 16.01 and abs(levels - round(levels)) < 1e-3:
        return [f"eps: {eps:.4g} is {round(levels)}/255, a usual radius of norm='linf', and tiny in L2"]
    return []


def box_diameter(norm: str, images: Tensor) -> float:
    """Return the largest distance between two images of this shape."""
    corners = torch.ones_like(images[:1]), torch.zeros_like(images[:1])
    return float(threat.distances(*corners, norm=norm))
