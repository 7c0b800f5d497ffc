"""Folders of weights, as on the Hugging Face hub, whole or in shards. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from robust_transfer.core.errors import CheckpointError

SHARDS = ".index.json"  # suffix of the file that maps tensors to shards
_WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{SHARDS}",
    "pytorch_model.bin",
    f"pytorch_model.bin{SHARDS}",
)
_DISTRIBUTED = ".metadata"


def weights_file(path: str | Path) -> Path:
    """Return the file with a folder's weights, or the index of its shards; a file is returned as it is.

    Raises
    ------
    CheckpointError : a folder of torch.distributed.checkpoint, or without a file of a known name
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if (path / _DISTRIBUTED).is_file():
        raise CheckpointError(
            f"{path} is a folder of torch.distributed.checkpoint, expected a file",
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} FILE",
        )
    file = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if file is None:
        kinds = ("*.safetensors", "*.ckpt", "*.pt*", "*.bin")
        names = [entry.name for kind in kinds for entry in path.glob(kind)]
        hint = f"perhaps {path / names[0]}" if names else "give the file itself, such as model.safetensors"
        raise CheckpointError(f"{path} is a directory, expected a file", hint)
    return file


def is_weights_folder(path: Path) -> bool:
    """Tell a folder with weights that is no stage of ours."""
    names = (*_WEIGHTS, _DISTRIBUTED)
    return not (path / "status.json").exists() and any((path / name).is_file() for name in names)


def shards(index: Path) -> dict[Path, list[str]]:
    """Read an index of shards: the names of the tensors that each file holds.

    Raises
    ------
    CheckpointError : not an index, a shard outside of the folder, a shard that is missing
    """
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is not an index of shards (expected weight_map)") from None
    files: dict[Path, list[str]] = {}
    for tensor, file in sorted(names):
        if not isinstance(file, str) or Path(file).name != file:
            raise CheckpointError(f"{index} names the shard {file!r} (expected a file beside it)")
        files.setdefault(index.parent / file, []).append(tensor)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} has {len(files) - len(missing)} of {len(files)} shards (missing {missing[0]})",
            "download the folder again",
        )
    return files
