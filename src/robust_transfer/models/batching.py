"""Forward passes of constant shape: a kernel, and with it the rounding, may change with the batch's size."""

# B images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def padded(images: Tensor, size: int) -> Tensor:
    """Fill a batch (B, ...) of at least one row up to `size` rows with copies of its first.

    Real images, so that no layer sees anything it would not see otherwise; a full batch comes back as it is.
    """
    missing = size - len(images)
    return torch.cat([images, images[:1].expand(missing, *images.shape[1:])]) if missing > 0 else images


def batches(images: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Cut (B, ...) into batches of exactly `size` rows, each with the number of rows that count."""
    for first in range(0, len(images), size):
        part = images[first : first + size]
        yield padded(part, size), len(part)


def forward(model: Callable[[Tensor], Tensor], images: Tensor, size: int) -> Tensor:
    """Return the logits (B, K) of at least one image, computed `size` at a time."""
    return torch.cat([model(batch)[:count] for batch, count in batches(images, size)])
