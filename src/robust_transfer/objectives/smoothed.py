"""The smoothed classifier as training sees it: the mean softmax over a few noisy copies of an image."""

# M noise copies, B batch, C channels, H/W pixels, K classes

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robust_transfer.objectives.objective import Noise, widen


def smoothed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return mean_b -log pbar_b[y_b], with pbar the mean over the copies of the softmax.

    Parameters
    ----------
    logits : (M, B, K), of M noisy copies of each image
    labels : (B,) int64
    """
    return -log_votes(logits).gather(1, labels.unsqueeze(1)).mean()


def log_votes(logits: Tensor) -> Tensor:
    """Return the logarithm of the mean softmax (B, K) of logits (M, B, K), without underflow."""
    mean: Tensor = widen(logits).log_softmax(2).logsumexp(0) - math.log(logits.shape[0])
    return mean


def draws(noise: Noise, sigma: float, num_copies: int) -> list[Tensor]:
    """Return the noise (B, C, H, W) of each copy of the images, of standard deviation sigma."""
    return [sigma * noise("smoothing", copy) for copy in range(num_copies)]


def noisy_logits(model: nn.Module, images: Tensor, samples: Sequence[Tensor]) -> Tensor:
    """Return the logits (M, B, K) of images under M draws, unclamped, in one pass."""
    copies = torch.cat([images + draw for draw in samples])
    logits: Tensor = model(copies).unflatten(0, (len(samples), len(images)))
    return logits


def summed_smoothed_loss(
    model: nn.Module, samples: Sequence[Tensor], labels: Tensor, images: Tensor
) -> Tensor:
    """Return -log pbar[y] summed over the images: what an attack on the smoothed classifier raises."""
    return smoothed_cross_entropy(noisy_logits(model, images, samples), labels) * len(labels)


def voted_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the fraction of images whose mean softmax is largest at the label."""
    return (log_votes(logits.detach()).argmax(1) == labels).float().mean()
