"""`weights=torchvision:IMAGENET1K_V2`: weights that torchvision publishes, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision

from robust_transfer.core.errors import CheckpointError, ConfigError, did_you_mean
from robust_transfer.models.importers.describe import content_sha256


def torchvision_weights(weights: str, *, arch: str) -> Path:
    """Return the file of published weights in torch's local cache, fetched there if it is absent.

    Parameters
    ----------
    weights : "torchvision:NAME", NAME being an entry of torchvision's enumeration for `arch`

    Raises
    ------
    ConfigError : another provider, or torchvision has no such weights for `arch`
    CheckpointError : the file cannot be fetched, or its sha256 does not begin as its name says
    """
    entry = _resolve(weights, arch)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    prefix = path.stem.rpartition("-")[2]
    if not path.is_file():
        _fetch(entry.url, path, prefix)
    digest = content_sha256(path)
    if not digest.startswith(prefix):
        raise CheckpointError(
            f"{path} has sha256 {digest[:8]}... (expected {prefix}...)", "delete it and try again"
        )
    return path


def _resolve(weights: str, arch: str) -> Any:
    provider, _, name = weights.partition(":")
    if provider != "torchvision" or not name:
        raise ConfigError(f"weights={weights} is not known (expected torchvision:NAME)")
    try:
        entries = torchvision.models.get_model_weights(arch).__members__
    except ValueError:
        raise ConfigError(f"torchvision publishes no weights for {arch}", "model=resnet50") from None
    if name not in entries:
        raise ConfigError(f"torchvision has no weights '{name}' for {arch}", did_you_mean(name, entries))
    return entries[name]


def _fetch(url: str, path: Path, hash_prefix: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{url} could not be fetched ({error})", f"fetch it where there is a network and put it at {path}"
        ) from None
