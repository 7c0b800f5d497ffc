"""Sums and joins over all processes, with their gradients; in a process alone, the identity."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as td
from torch import Tensor


def rank() -> int:
    """Return this process's number, 0 where there is only one."""
    return td.get_rank() if td.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return td.get_world_size() if td.is_initialized() else 1


def gather(tensor: Tensor) -> Tensor:
    """Join the tensors of all processes along the first axis; gradients flow back to each one's own."""
    return _Gather.apply(tensor) if world_size() > 1 else tensor


def all_sum(tensor: Tensor) -> Tensor:
    """Sum over processes; the gradient of the sum is summed too."""
    return _AllSum.apply(tensor) if world_size() > 1 else tensor


def reduced(tensor: Tensor) -> Tensor:
    """Return the sum over the processes of a group, without gradient."""
    total = tensor.detach().clone()
    td.all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        td.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process has a loss of its own that depends on this process's part.
        return reduced(gradient.contiguous()).chunk(world_size())[rank()]


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return reduced(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return reduced(gradient)
