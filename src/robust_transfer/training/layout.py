"""The memory layout of training: channels last, except where a CPU kernel of torch writes out of bounds."""

from __future__ import annotations

import torch
from torch import nn

# torch 2.14 on processors with AVX2 alone: the weight gradient of a strided 1x1 convolution in channels-last
# layout writes past its buffer where the input has fewer channels than a vector register holds floats.
FLOATS_PER_REGISTER = 8


def memory_layout(model: nn.Module, device: torch.device, *, channels_last: bool) -> torch.memory_format:
    """Return the layout in which `model` can be trained on `device`; results are equal up to rounding."""
    if channels_last and not _is_unsafe(model, device):
        return torch.channels_last
    return torch.contiguous_format


def compile_options(model: nn.Module, device: torch.device) -> dict[str, bool] | None:
    """Return what torch.compile must be told: on CPUs it lays out channels last by itself."""
    return {"layout_optimization": False} if _is_unsafe(model, device) else None


def _is_unsafe(model: nn.Module, device: torch.device) -> bool:
    return device.type == "cpu" and _is_narrow(model)


def _is_narrow(model: nn.Module) -> bool:
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return any(
        conv.in_channels < FLOATS_PER_REGISTER and conv.kernel_size == (1, 1) and conv.stride != (1, 1)
        for conv in convolutions
    )
