"""The mean and standard deviation of a checkpoint's images: given, in the file, or its source's default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.models.importers.formats import Format, View
from robust_transfer.models.normalized import Normalize, resolve_normalize

# Names of the buffers that hold them: the last parts of a key.
_BUFFERS = (
    ("normalizer.new_mean", "normalizer.new_std"),
    ("normalize.new_mean", "normalize.new_std"),
    ("normalize.mean", "normalize.std"),
    ("normalizer.mean", "normalizer.std"),
    ("mu", "sigma"),
    ("mean", "std"),
)


def find_normalization(
    view: View, source: Format, path: str | Path, given: Normalize | None, channels: str = "rgb"
) -> tuple[list[float], list[float], str]:
    """Return (mean, std, where they came from): what is given wins over the file, the file over the format.

    Statistics in a file are in the order of its channels; all others, and what is returned, are of RGB.

    Raises
    ------
    CheckpointError : it can be neither read nor inferred
    ConfigError : `given` is not a normalisation
    """
    try:
        own = _in_file(view, channels) or _beside(Path(path), source)
    except ConfigError as error:
        if given is None:
            raise CheckpointError(f"{path}: {error.what}", *error.hints) from None
        own = None
    if given is not None:
        mean, std = resolve_normalize(given)
        name = f" {given}" if isinstance(given, str) else ""
        difference = (
            "" if own is None or own[:2] == (mean, std) else f"; the file says mean {own[0]} std {own[1]}"
        )
        return mean, std, f"given{name}{difference}"
    if own is not None:
        return own
    custom = source.normalize(view)
    if custom is None:
        raise CheckpointError(
            f"the normalisation of {path} ({source.name}) can be neither read nor inferred",
            "say what its images had: pretrain.normalize=imagenet, cifar, none or [[mean x3],[std x3]]",
            "for rt-eval: normalize=...",
        )
    mean, std = resolve_normalize(custom)
    return mean, std, f"inferred from the format: {custom}"


def is_normalization(key: str) -> bool:
    """Tell whether a key names a mean or a standard deviation, as opposed to weights."""
    return any(_is_named(key, name) for pair in _BUFFERS for name in pair)


def _is_named(key: str, name: str) -> bool:
    return key == name or key.endswith(f".{name}")


def _in_file(view: View, channels: str) -> tuple[list[float], list[float], str] | None:
    for mean_name, std_name in _BUFFERS:
        for key, mean in view.tensors.items():
            std = view.tensors.get(key.removesuffix(mean_name) + std_name)
            if _is_named(key, mean_name) and std is not None:
                numbers = [tensor.double().flatten().tolist() for tensor in (mean, std)]
                # Three numbers each, std > 0: else it is not a normalisation.
                if [len(values) for values in numbers] == [3, 3] and min(numbers[1]) > 0:
                    rgb = [values[::-1] if channels == "bgr" else values for values in numbers]
                    return (*resolve_normalize(rgb), f"read from the file: {key}")
    return None


def _beside(path: Path, source: Format) -> tuple[list[float], list[float], str] | None:
    """Read the statistics beside published weights on the hub."""
    name, mean, std = "config.json", "mean", "std"
    if source.name == "transformers":
        name, mean, std = "preprocessor_config.json", "image_mean", "image_std"
    try:
        values = _json_beside(path, name)
        values = values.get("pretrained_cfg", values)
        return (*resolve_normalize([values[mean], values[std]]), f"read from {name} beside the file")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def input_size_beside(path: Path) -> int | None:
    """Return the side of the images in pixels by timm's config.json beside a file; None: it says none."""
    try:
        values = _json_beside(path, "config.json")
        channels, height, width = values.get("pretrained_cfg", values)["input_size"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return height if (channels, width) == (3, height) and isinstance(height, int) else None


def architecture_beside(path: Path) -> str | None:
    """Return timm's name of the network by the config.json beside a file; None where it says none."""
    try:
        name = _json_beside(path, "config.json")["architecture"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def _json_beside(path: Path, name: str) -> Any:
    folder = path if path.is_dir() else path.parent
    return json.loads((folder / name).read_text(encoding="utf-8"))
