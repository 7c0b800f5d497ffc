"""What a checkpoint file is, from its first bytes: no torch, nothing is unpickled."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any, Literal

from robust_transfer.core.errors import CheckpointError

Container = Literal["safetensors", "zip", "legacy", "tar"]

_DOWNLOAD_AGAIN = "download it again and compare its size with the source's"


def container(path: str | Path) -> Container:
    """Tell the container form of a checkpoint file.

    Returns
    -------
    "safetensors"; "zip" (torch.save since 1.6); "legacy" (a bare pickle); "tar" (torch.save before 0.4)

    Raises
    ------
    CheckpointError : no such file, a directory, empty, an HTML page, a Git LFS pointer, a cut-off zip, other
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a directory, expected a file", f"perhaps {path / 'model.safetensors'}"
        )
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    with path.open("rb") as file:
        start = file.read(512)
    _refuse_pages(path, start)
    if start[:2] == b"PK":
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} is a truncated zip archive (no central directory)", _DOWNLOAD_AGAIN
            )
        return "zip"
    if start[8:9] == b"{":
        return "safetensors"
    # \x80 opens every pickle since protocol 2, with which torch has always saved.
    if start[:1] == b"\x80":
        return "legacy"
    if start[257:262] == b"ustar":
        return "tar"
    raise CheckpointError(f"{path} is not a checkpoint (expected safetensors or a torch.save file)")


def _refuse_pages(path: Path, start: bytes) -> None:
    if not start:
        raise CheckpointError(f"{path} is empty", _DOWNLOAD_AGAIN)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(
            f"{path} is an HTML page saved under a checkpoint's name",
            "the download asked for a confirmation or a login: fetch the file itself",
        )
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights", "in its repository: git lfs pull"
        )


def is_torchscript(path: str | Path) -> bool:
    """Tell whether a zip container is a TorchScript archive (it has compiled constants)."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def read_header(path: str | Path) -> dict[str, Any]:
    """Read the JSON header of a safetensors file: tensor name -> dtype, shape, data_offsets; `__metadata__`.

    Raises
    ------
    CheckpointError : not safetensors, or the file is shorter or longer than its header says
    """
    path = Path(path)
    kind = container(path)
    if kind != "safetensors":
        raise CheckpointError(f"{path} is not a safetensors file (found a {kind} container)")
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = file.read(min(length, size))
    try:
        header: dict[str, Any] | None = json.loads(text) if 8 + length <= size else None
    except ValueError:
        raise CheckpointError(f"{path} has an unreadable safetensors header", _DOWNLOAD_AGAIN) from None
    if header is None:
        raise CheckpointError(f"{path} is truncated inside its header", _DOWNLOAD_AGAIN)
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise CheckpointError(
            f"{path} is truncated (expected {expected} bytes, found {size})", _DOWNLOAD_AGAIN
        )
    return header
