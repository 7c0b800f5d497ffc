"""Gaussian noise keyed by (seed, purpose, image, block): no draw depends on another.

C channels, H/W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from robust_transfer.core import rng
from robust_transfer.smoothing.settings import BLOCK

Purpose = Literal["select", "estimate"]


def noise_block(
    shape: Sequence[int],
    *,
    seed: int,
    purpose: Purpose,
    index: int,
    block: int,
    device: torch.device | str = "cpu",
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw one block of 100 standard normal samples for an image.

    Parameters
    ----------
    shape : (C, H, W) of the image
    purpose : "select" for the n0 samples that pick the class, "estimate" for the n that bound its probability
    index : position of the image in the full, sorted test set
    block : 0 for samples 0..99, 1 for samples 100..199, ...
    out : (100, C, H, W) float32 on `device`, to draw into

    Returns
    -------
    (100, C, H, W) float32 on `device`, equal wherever `noise_backend` is
    """
    if out is None:
        out = torch.empty((BLOCK, *shape), device=device)
    return out.normal_(generator=rng.generator(seed, purpose, index, block, device=device))


def noise_backend(device: torch.device | str) -> str:
    """Name the sampler: noise under one key is equal on two machines that give the same name.

    torch's CPU sampler computes in another order without AVX2; on CUDA a key's draw depends on the GPU's
    model.
    """
    device = torch.device(device)
    if device.type == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        return f"torch-cpu-{'avx2' if capability.startswith('AVX') else capability.lower()}"
    if device.type == "cuda":
        return f"torch-cuda-{torch.cuda.get_device_name(device)}"
    return f"torch-{device.type}"
