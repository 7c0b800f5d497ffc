"""The batch of all processes, which take its images by turns, and a process's share of it."""

# B local batch, N = B x processes

from __future__ import annotations

from torch import Tensor

from robust_transfer.distributed.collectives import gather, rank, world_size


def everyones(tensor: Tensor) -> Tensor:
    """Join (B, ...) of all processes in the batch's order (N, ...)."""
    by_process: Tensor = gather(tensor).view(world_size(), *tensor.shape)
    return by_process.transpose(0, 1).flatten(0, 1)


def own(tensor: Tensor) -> Tensor:
    """Return this process's rows (B, ...) of (N, ...)."""
    return tensor[rank() :: world_size()]
