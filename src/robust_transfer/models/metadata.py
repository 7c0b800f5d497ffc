"""The metadata beside the weights in `model.safetensors`: written as strings, read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.container import read_header

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelMetadata:
    """What is needed to rebuild a model around its weights; fields as in `normalized.Classifier`."""

    arch: str
    width: int
    class_names: list[str]
    mean: list[float]
    std: list[float]
    image_size: int
    train_sigma: float | None = None
    key: str = ""

    def to_strings(self) -> dict[str, str]:
        """Return what goes into the file: strings, lists as JSON text, an unknown sigma as ""."""
        return {
            "arch": self.arch,
            "class_names": json.dumps(self.class_names),
            "format_version": str(FORMAT_VERSION),
            "image_size": str(self.image_size),
            "input": "RGB, (B, 3, H, W), float in [0, 1]; subtract mean, divide by std",
            "key": self.key,
            "mean": json.dumps(self.mean),
            "num_classes": str(len(self.class_names)),
            "std": json.dumps(self.std),
            "train_sigma": "" if self.train_sigma is None else repr(float(self.train_sigma)),
            "width": str(self.width),
        }


def is_ours(header: dict[str, Any]) -> bool:
    """Tell whether a safetensors header carries this package's metadata."""
    values: dict[str, str] = header.get("__metadata__", {})
    return {"arch", "format_version", "mean", "std"} <= values.keys()


def parse_metadata(header: dict[str, Any], path: str | Path) -> ModelMetadata:
    """Read the metadata out of a safetensors header.

    Raises
    ------
    CheckpointError : absent, of a later format version, or a value that does not parse
    """
    if not is_ours(header):
        raise CheckpointError(
            f"{path} has no robust-transfer metadata",
            "a foreign checkpoint is read by pretrain=checkpoint pretrain.path=FILE",
        )
    values = header["__metadata__"]
    try:
        if int(values["format_version"]) > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format version {values['format_version']} (expected at most {FORMAT_VERSION})"
            )
        metadata = ModelMetadata(
            arch=values["arch"],
            width=int(values["width"]),
            class_names=[str(name) for name in json.loads(values["class_names"])],
            mean=[float(x) for x in json.loads(values["mean"])],
            std=[float(x) for x in json.loads(values["std"])],
            image_size=int(values["image_size"]),
            train_sigma=float(values["train_sigma"]) if values["train_sigma"] else None,
            key=values["key"],
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} has broken metadata ({error})") from None
    if len(metadata.mean) != 3 or len(metadata.std) != 3:
        raise CheckpointError(
            f"{path} has broken metadata (expected three means and three standard deviations)"
        )
    return metadata


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata of a model file of ours, without torch and without the weights.

    Returns
    -------
    dict with arch, width, num_classes, class_names, mean, std, image_size, train_sigma (None: unknown), key

    Raises
    ------
    CheckpointError : not a whole safetensors file, or not one of ours
    """
    metadata = parse_metadata(read_header(path), path)
    return {**vars(metadata), "num_classes": len(metadata.class_names)}
