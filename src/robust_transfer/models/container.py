"""The container form of a checkpoint file, from its first bytes: no torch, nothing is unpickled."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Literal

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.folders import SHARDS, weights_file

Container = Literal["safetensors", "zip", "legacy", "tar", "npz", "shards"]

_DOWNLOAD_AGAIN = "download it again and compare its size with the source's"


def container(path: str | Path) -> Container:
    """Tell the container form of a checkpoint file.

    Returns
    -------
    "safetensors"; "zip" (torch.save since 1.6); "legacy" (a bare pickle); "tar" (torch.save before 0.4);
    "npz" (NumPy); "shards" (the index of several files); a folder's is that of the weights in it

    Raises
    ------
    CheckpointError : no such file, a directory, empty, an HTML page, a Git LFS pointer, a cut-off zip, other
    """
    path = weights_file(path)
    if not path.is_file():
        raise missing_file(path)
    if path.name.endswith(SHARDS):
        return "shards"
    with path.open("rb") as file:
        start = file.read(512)
    _refuse_pages(path, start)
    if start[:2] == b"PK":
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} is a truncated zip archive (no central directory)", _DOWNLOAD_AGAIN
            )
        return _archive(path)
    if path.suffix.lower() == ".onnx":
        raise CheckpointError(
            f"{path} is an ONNX graph, which is a program (expected weights)",
            "save the network's state_dict where it was exported",
        )
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


def missing_file(path: Path) -> CheckpointError:
    """Return the error for a path without a file; of an address or a name on a hub, with the next step."""
    text = re.sub(r"^(\w+):/(?!/)", r"\1://", str(path))
    on_hub = re.fullmatch(
        r"https://(?:huggingface\.co|hf\.co)/([^/]+/[^/]+)(?:/(?:resolve|blob)/[^/]+/([^?]+))?.*", text
    ) or re.fullmatch(r"(?:hf-hub:|hf:)([\w.-]+/[\w.-]+)(?:/(.+))?", text)
    if on_hub:
        name = "/".join(part for part in on_hub.groups() if part)
        return CheckpointError(
            f"{text} is on the Hugging Face hub, expected a file here",
            f"rt-train: pretrain.weights=hf:{name}",
            f"rt-eval: checkpoint=hf:{name}",
        )
    if "://" in text:
        return CheckpointError(
            f"{text} is an address, expected a file", f"curl -LO '{text}', and give the file"
        )
    if re.match(r"[a-z]{2,}:", text):
        return CheckpointError(
            f"{text} is a name of weights, expected a file", f"rt-train: pretrain.weights={text}"
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not path.suffix and not path.parent.exists():
        return CheckpointError(
            f"{text} does not exist here; on the Hugging Face hub it may",
            f"rt-train: pretrain.weights=hf:{text}",
        )
    return CheckpointError(f"checkpoint {text} does not exist")


def _archive(path: Path) -> Literal["zip", "npz"]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(re.search(r"serialized_exported_program|^[^/]+/models/[^/]+\.json$", name) for name in names):
        raise CheckpointError(
            f"{path} is an exported program of torch.export (expected weights)",
            "torch.save(torch.export.load(FILE).state_dict, NEW)",
        )
    return "zip"


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
