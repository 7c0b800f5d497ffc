"""Forward passes of constant shape: a kernel, and with it the rounding, may change with the batch's size."""

# B images, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def padded(images: Tensor, size: int) -> Tensor:
    """Fill a batch (B, ...) of at least one row up to `size` rows with copies of its first.

    Real images, so that every layer sees realistic inputs; a full batch comes back as it is.
    """
    missing = size - len(images)
    return torch.cat([images, images[:1].expand(missing, *images.shape[1:])]) if missing > 0 else images


def shape_for(count: int, largest: int) -> int:
    """Return the smallest rung of the ladder below `largest` that holds `count` images, at most `largest`.

    Four rungs per octave (8, 7, 6 and 5 eighths of largest, largest / 2, ...): at most a fifth of a forward
    is padding, and a run meets few shapes.
    """
    rung = largest
    for halvings in range(largest.bit_length()):
        for eighths in (8, 7, 6, 5):
            size = -(-largest * eighths // (8 << halvings))
            if size < count:
                return rung
            rung = size
    return rung


def batches(images: Tensor, size: int, shapes: str = "one") -> Iterator[tuple[Tensor, int]]:
    """Cut (B, ...) into batches of `size` rows, each with the number of rows that count.

    shapes : "one": the last batch has `size` rows as well; "ladder": the number that `shape_for` returns
    """
    for first in range(0, len(images), size):
        part = images[first : first + size]
        yield padded(part, size if shapes == "one" else shape_for(len(part), size)), len(part)


def forward(model: Callable[[Tensor], Tensor], images: Tensor, size: int, shapes: str = "one") -> Tensor:
    """Return the logits (B, K) of at least one image, computed `size` at a time."""
    return torch.cat([model(batch)[:count] for batch, count in batches(images, size, shapes)])
