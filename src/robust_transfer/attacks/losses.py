"""Losses that an attack raises, one number per image: cross-entropy, DLR and targeted DLR."""

# B batch, K classes

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from robust_transfer.attacks.threat import TINY
from robust_transfer.core.choices import MIN_CLASSES
from robust_transfer.core.errors import EvaluationError, did_you_mean

# (logits (B, K), labels (B,), targets (B,)) -> losses (B,); untargeted losses do not read the targets.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each image, in float32: its gradient dies where the logits are large."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")


def dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the difference of logits ratio: no scaling or shift of the logits changes it.

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), z sorted downwards. Croce & Hein 2020 (2003.01690), eq. 6.
    """
    logits = logits.float()
    first, second, third = logits.topk(3, dim=1).values.unbind(1)
    correct = take(logits, labels)
    other = torch.where(logits.argmax(1) == labels, second, first)
    return -(correct - other) / (first - third + TINY)


def dlr_targeted(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the targeted difference of logits ratio: it grows as the target overtakes the label.

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), z sorted downwards. Croce & Hein 2020, eq. 7.
    """
    logits = logits.float()
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return -(take(logits, labels) - take(logits, targets)) / (first - 0.5 * (third + fourth) + TINY)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return max_{i != y} z_i - z_y of each image: positive where another class wins."""
    others = logits.scatter(1, labels.view(-1, 1), float("-inf"))
    return others.amax(1) - take(logits, labels)


def take(logits: Tensor, classes: Tensor) -> Tensor:
    """Return each image's logit of its own class: (B,)."""
    return logits.gather(1, classes.view(-1, 1)).squeeze(1)


def margin_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return `margin` as a loss: for two classes, where DLR has too few logits."""
    return margin(logits.float(), labels)


LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "dlr": dlr,
    "dlr_targeted": dlr_targeted,
    "margin": margin_loss,
}
TARGETED = ("dlr_targeted",)


def check_loss(loss: str, num_classes: int) -> None:
    """Refuse a loss without code, and one that needs more classes than the model has."""
    if loss not in LOSSES:
        raise EvaluationError(
            f"unknown loss (expected one of {', '.join(LOSSES)}, found '{loss}')", did_you_mean(loss, LOSSES)
        )
    if num_classes < MIN_CLASSES[loss]:
        raise EvaluationError(
            f"loss '{loss}' compares {MIN_CLASSES[loss]} logits (expected at least as many classes, "
            f"found {num_classes})",
            "use loss='ce'",
        )
