"""Test images of one part of a shard, decoded once and held as 8-bit tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.loaders import evaluation_batches
from robust_transfer.data.transforms import eval_transform


@dataclass(frozen=True)
class ImageBatch:
    """Images with their labels and positions in the full test set.

    pixels : (N, C, H, W) uint8
    labels, indices : (N,) int64
    unreadable : positions that were left out (data.on_error=skip)
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    unreadable: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int | slice) -> torch.Tensor:
        """Return float images in [0, 1], equal to torchvision's ToTensor."""
        return self.pixels[position].float().div(255)


def read_parts(
    dataset: ImageDataset,
    indices: Sequence[int],
    *,
    image_size: int,
    whole_image: bool,
    part_size: int,
    num_workers: int,
) -> Iterator[ImageBatch]:
    """Yield the images at `indices`, `part_size` at a time: a large test set need not fit in memory."""
    transform = eval_transform(image_size, whole=whole_image)
    for batch in evaluation_batches(
        dataset, indices, transform, batch_size=part_size, num_workers=num_workers
    ):
        yield ImageBatch(batch.images[0], batch.labels, batch.indices, tuple(batch.unreadable))
