"""Gaussian noise keyed by (seed, image, purpose, block): no two blocks of an image share a generator's state.

C channels, H/W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from robust_transfer.core import rng
from robust_transfer.smoothing.settings import BLOCK

Purpose = Literal["select", "estimate"]
SCHEME = "shake"  # how a key becomes a state; stands in the backend's name, so that schemes are not mixed
SELECT_FROM = 2**31  # counters below are the blocks that estimate


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

    An image has one key, and its blocks are counted on from there: no two of them share a generator's state,
    on a GPU either.

    Parameters
    ----------
    shape : (C, H, W) of the image
    purpose : "select" for the n0 samples that pick the class, "estimate" for the n that bound its probability
    index : position of the image in the full, sorted test set
    block : 0 for samples 0..99, 1 for samples 100..199, ...; below 2^31
    out : (100, C, H, W) float32 on `device`, to draw into

    Returns
    -------
    (100, C, H, W) float32 on `device`, equal wherever `noise_backend` is
    """
    assert 0 <= block < SELECT_FROM, block
    if out is None:
        out = torch.empty((BLOCK, *shape), device=device)
    counter = block + (SELECT_FROM if purpose == "select" else 0)
    return out.normal_(generator=rng.generator(seed, "certify", index, counter=counter, device=device))


def noise_backend(device: torch.device | str) -> str:
    """Name scheme and sampler: noise under one key is equal on two machines that give the same name.

    torch's CPU sampler computes in another order without AVX2; on CUDA a key's draw depends on the GPU's
    model.
    """
    device = torch.device(device)
    if device.type == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        return f"{SCHEME}-torch-cpu-{'avx2' if capability.startswith('AVX') else capability.lower()}"
    if device.type != "cpu":
        name = torch.get_device_module(device).get_device_name(device)
        return f"{SCHEME}-torch-{device.type}-{name}"
    return f"{SCHEME}-torch-{device.type}"
