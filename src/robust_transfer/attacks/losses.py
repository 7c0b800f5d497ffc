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


def rescaled_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of z / (z_(1) - z_(3)): neither scale nor shift of the logits saturates it."""
    logits = logits.float()
    first, _, third = logits.topk(3, dim=1).values.unbind(1)
    scale = (first - third).unsqueeze(1) + TINY
    return functional.cross_entropy((logits - first.unsqueeze(1)) / scale, labels, reduction="none")


LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "dlr": dlr,
    "dlr_targeted": dlr_targeted,
    "margin": margin_loss,
    "ce_rescaled": rescaled_cross_entropy,
}
TARGETED = ("dlr_targeted",)


def check_name(loss: str) -> None:
    """Refuse a loss without code."""
    if loss not in LOSSES:
        raise EvaluationError(
            f"unknown loss (expected one of {', '.join(LOSSES)}, found '{loss}')",
            did_you_mean(str(loss), LOSSES),
        )


def check_classes(loss: str, num_classes: int) -> None:
    """Refuse a loss that needs more classes than the model has."""
    if num_classes < MIN_CLASSES[loss]:
        raise EvaluationError(
            f"loss '{loss}' compares {MIN_CLASSES[loss]} logits (expected at least as many classes, "
            f"found {num_classes})",
            "use loss='ce'",
        )


def top_scale(logits: Tensor) -> Tensor:
    """Return the scale of an image's leading logits: z_(1) - z_(3), at most the larger size of the first two.

    (B, K) to (B,). The spread of all logits says nothing where a head masks classes by -100 or -1e9.
    """
    leading = logits.topk(min(3, logits.shape[1]), dim=1).values
    size = leading[:, :2].abs().amax(1)
    return size if leading.shape[1] < 3 else torch.minimum(leading[:, 0] - leading[:, 2], size)


def resolution(logits: Tensor) -> Tensor:
    """Return the distance between float32 numbers of the size of an image's leading logits: (B,)."""
    return torch.finfo(torch.float32).eps * logits.topk(2, dim=1).values.abs().amax(1)
