"""`model.safetensors`: a classifier's weights under its library's keys, the rest in the metadata."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.core.files import atomic_path
from robust_transfer.models.backbones import backbone
from robust_transfer.models.container import read_header
from robust_transfer.models.metadata import ModelMetadata, parse_metadata
from robust_transfer.models.normalized import Classifier


def save_model(path: str | Path, model: Classifier, *, key: str = "") -> None:
    """Write `model` whole or not at all; equal models and keys give equal bytes.

    Parameters
    ----------
    key : the stage's key, 12 hex digits; empty outside a store
    """
    metadata = ModelMetadata(
        arch=model.arch,
        width=model.width,
        class_names=model.class_names,
        mean=model.mean,
        std=model.std,
        image_size=model.image_size,
        train_sigma=model.train_sigma,
        key=key,
    )
    content = to_bytes(model.backbone.state_dict(), metadata.to_strings())
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(content)


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Serialise to safetensors with the header's keys sorted.

    The library writes metadata in the order of a hash map, which differs from process to process.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain)
    (length,) = struct.unpack("<Q", content[:8])
    header = {"__metadata__": dict(metadata), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def load_model(path: str | Path) -> Classifier:
    """Read a model that `save_model` wrote, on the CPU and in eval mode.

    Returns
    -------
    Classifier: input (B, 3, H, W) float in [0, 1], output logits (B, K)

    Raises
    ------
    CheckpointError : not a whole file of ours, an unknown architecture, missing or unexpected keys, other
        shapes, NaN or infinite weights
    """
    path = Path(path)
    metadata = parse_metadata(read_header(path), path)
    try:
        network = backbone(metadata.arch, len(metadata.class_names), metadata.width, metadata.image_size)
        tensors = safetensors.torch.load_file(path)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.what}", *error.hints) from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error})") from None
    check_tensors(tensors, network.state_dict(), path)
    network.load_state_dict(tensors)
    model = Classifier(
        network,
        arch=metadata.arch,
        width=metadata.width,
        class_names=metadata.class_names,
        image_size=metadata.image_size,
        mean=metadata.mean,
        std=metadata.std,
        train_sigma=metadata.train_sigma,
    )
    return model.eval()


def check_tensors(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: str | Path
) -> None:
    """Raise CheckpointError unless `found` has the keys and shapes of `expected`, and finite values."""
    for fault, names in (
        ("missing", sorted(expected.keys() - tensors.keys())),
        ("unexpected", sorted(tensors.keys() - expected.keys())),
    ):
        if names:
            raise CheckpointError(f"{path} has {len(names)} {fault} tensors: {shorten(names)}")
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
            )
    check_finite(tensors, path)


def check_finite(tensors: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise CheckpointError if any floating-point tensor holds NaN or infinity."""
    broken = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(f"{path} holds NaN or infinite weights in {shorten(sorted(broken))}")


def shorten(names: list[str], limit: int = 4) -> str:
    """Join names for one line of text, the first `limit` of them in full."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
