"""The attack inside a training step, and what it leaves behind in the network: nothing."""

# B batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from robust_transfer.attacks.pgd import perturb
from robust_transfer.models.modes import eval_mode, no_param_grad
from robust_transfer.objectives.objective import cross_entropy


def attacked(
    model: nn.Module,
    images: Tensor,
    *,
    loss: Callable[[Tensor], Tensor],
    norm: str,
    eps: float,
    num_steps: int,
    step_size: float,
    start: Tensor | None,
    first: Tensor | None = None,
    keep_best: bool = False,
) -> Tensor:
    """Return images of larger loss within the threat; at radius 0 the images themselves.

    During the attack the model is in eval mode (adversarial iterates leave no trace in BatchNorm) and its
    parameters are frozen (gradients of the input alone: 3 steps cost 3 plain steps, not 4).

    Parameters
    ----------
    loss : images (B, C, H, W) -> scalar, summed over the images, or one of each image
    start : standard normal noise of a random start in the ball; None: at the images
    first : (B, C, H, W) to start at instead
    keep_best : return each image's iterate of largest loss, for one more pass; the loss is then one of each
    """
    if eps == 0:
        return images
    with eval_mode(model), no_param_grad(model):
        return perturb(
            images,
            loss=loss,
            norm=norm,
            eps=eps,
            num_steps=num_steps,
            step_size=step_size,
            start=start,
            first=first,
            keep_best=keep_best,
        )


def cross_entropies(model: nn.Module, images: Tensor, *, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image (B,)."""
    return cross_entropy(model(images), labels, reduction="none")


def summed_cross_entropy(model: nn.Module, images: Tensor, *, labels: Tensor) -> Tensor:
    """Return the cross-entropy summed over the images: an image's gradient does not shrink with the batch."""
    return cross_entropy(model(images), labels, reduction="sum")
