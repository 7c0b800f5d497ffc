"""Change a model in place for a block, and restore every submodule and parameter exactly afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn


@contextmanager
def eval_mode(*models: nn.Module) -> Iterator[None]:
    """Put every submodule in eval mode; afterwards each has its former flag.

    The flags are kept one by one: a frozen BatchNorm inside a model in train mode stays frozen,
    where `model.train()` at the end would unfreeze it.
    """
    flags = [(module, module.training) for model in models for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        # In reverse, so that a module given twice gets its first flag back.
        for module, training in reversed(flags):
            module.training = training


@contextmanager
def no_param_grad(*models: nn.Module) -> Iterator[None]:
    """Freeze every parameter, so that a backward pass computes gradients of the input alone."""
    flags = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, requires_grad in reversed(flags):
            parameter.requires_grad_(requires_grad)


@contextmanager
def kept_state(model: nn.Module) -> Iterator[list[str]]:
    """Restore every buffer and parameter afterwards; the list names those that had changed.

    The list is filled when the block ends.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {name: (tensor, tensor.detach().clone()) for name, tensor in tensors.items()}
    moved: list[str] = []
    try:
        yield moved
    finally:
        owners = dict(model.named_modules())
        changed = _changed(before)
        for name, (tensor, copy) in before.items():
            if name in changed:
                moved.append(name)
                with torch.no_grad():
                    tensor.copy_(copy)
            owner, _, short = name.rpartition(".")
            if getattr(owners[owner], short) is not tensor:
                moved.append(name)
                setattr(owners[owner], short, tensor)


def _changed(tensors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> set[str]:
    """Name the pairs that differ, with one synchronisation per device; NaN is equal to NaN.

    (An observer without data holds NaN, and has not changed while it still does.)
    """
    names: dict[torch.device, list[str]] = {}
    differ: dict[torch.device, list[torch.Tensor]] = {}
    for name, (tensor, copy) in tensors.items():
        names.setdefault(tensor.device, []).append(name)
        differ.setdefault(tensor.device, []).append(
            (torch.nan_to_num(tensor.detach()) != torch.nan_to_num(copy)).any()
        )
    return {
        name
        for device, flags in differ.items()
        for name, moved in zip(names[device], torch.stack(flags).tolist(), strict=True)
        if moved
    }


def device_of(model: nn.Module, otherwise: torch.device) -> torch.device:
    """Tell where a model's parameters are, or its buffers; `otherwise` for a model that has neither."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return otherwise if tensor is None else tensor.device
