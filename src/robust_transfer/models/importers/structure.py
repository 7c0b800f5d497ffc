"""Where in a file the weights are, found by their shapes rather than their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from robust_transfer.models.importers.formats import Tensors
from robust_transfer.models.safe_load import state_dict_of

_DEPTH = 3  # of dicts in dicts


def roots(tensors: Tensors) -> list[str]:
    """Return every prefix below which there is a residual network: a stem and a first block."""
    below = ("bn1.weight", "layer1.0.conv1.weight")
    stems = [key for key in tensors if re.search(r"(^|\.)conv1\.weight$", key)]
    ends = [key.removesuffix("conv1.weight") for key in stems]
    return [root for root in ends if all(root + name in tensors for name in below)]


def state_dicts(value: Any, path: str = "") -> Iterator[tuple[str, Tensors]]:
    """Yield (dotted path, tensors) of the state_dicts in a file that hold a convolution."""
    tensors = state_dict_of(value)
    if tensors and any(tensor.ndim == 4 for tensor in tensors.values()):
        yield path, tensors
    if isinstance(value, Mapping) and path.count(".") < _DEPTH:
        for name, inner in value.items():
            if isinstance(name, str) and not isinstance(inner, torch.Tensor):
                yield from state_dicts(inner, f"{path}.{name}" if path else name)


def plain_weights(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Strip the prefixes of torch.compile, and multiply pruned weights by their masks."""
    plain = {key.replace("_orig_mod.", ""): tensor for key, tensor in tensors.items()}
    for key in [key for key in plain if key.endswith("_orig")]:
        name = key.removesuffix("_orig")
        if f"{name}_mask" in plain and name not in plain:
            plain[name] = plain.pop(key) * plain.pop(f"{name}_mask")
    return plain
