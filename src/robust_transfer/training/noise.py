"""The noise of a training step: every image's own, whatever batch and process it is in."""

# B local batch, C channels, H/W pixels

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robust_transfer.core import rng


@dataclass(frozen=True)
class KeyedNoise:
    """Standard normal numbers keyed by (seed, purpose, epoch, image, copy).

    They are drawn on `device` in float32: a CPU and a GPU draw different numbers from one key.

    Parameters
    ----------
    epoch : keys the draws, so that an image meets new noise in every epoch
    indices : positions of the B local images in the data set
    shape : (C, H, W) of one image
    """

    seed: int
    epoch: int
    indices: tuple[int, ...]
    shape: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype = torch.float32

    def __call__(self, purpose: str, copy: int) -> Tensor:
        """Draw (B, C, H, W) for one purpose and copy."""
        noise = torch.empty(len(self.indices), *self.shape, device=self.device, dtype=self.dtype)
        for row, index in enumerate(self.indices):
            noise[row] = rng.normal(
                self.shape, self.seed, purpose, self.epoch, index, copy, device=self.device
            )
        return noise
