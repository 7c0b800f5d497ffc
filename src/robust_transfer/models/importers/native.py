"""A network whose own names are known beforehand, found below any prefix: timm's, wide ResNets, plug-ins'."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from robust_transfer.config.model import CIFAR_RESNETS, TORCHVISION, chosen_by
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.backbones import backbone, head_name
from robust_transfer.models.checkpoint import shorten
from robust_transfer.models.importers.formats import Format, Tensors, View
from robust_transfer.models.importers.structure import plain_weights, state_dicts
from robust_transfer.models.safe_load import LoadedFile

NAME = "native"
_LIKE_TORCHVISION = (*TORCHVISION, *CIFAR_RESNETS, "resnet18_small")
_PREFERRED = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net", "")

# pytorch-cifar's names of `downsample` and `fc`.
_OLD_NAMES = (
    (r"(^|\.)(layer\d\.\d+)\.shortcut\.", r"\1\2.downsample."),
    (r"(^|\.)linear\.(weight|bias)$", r"\1fc.\2"),
)


def has_own_names(arch: str) -> bool:
    """Tell an architecture whose tensors are not called as those of torchvision's ResNets."""
    return arch not in _LIKE_TORCHVISION


def native_format(
    loaded: LoadedFile, arch: str, width: int, path: str | Path, *, part: str | None, prefix: str | None
) -> tuple[Format, View]:
    """Find an architecture's tensors in a file.

    Parameters
    ----------
    part, prefix : which state_dict, and what precedes the names in it; None: wherever they are complete

    Raises
    ------
    CheckpointError : they are complete nowhere, or in several places
    """
    with torch.device("meta"):
        names = [
            name for name in backbone(arch, 0, width).state_dict() if not name.endswith("num_batches_tracked")
        ]
    views = {where: _renamed(plain_weights(tensors)) for where, tensors in state_dicts(loaded.root)}
    if part is not None:
        views = {where: tensors for where, tensors in views.items() if where == part}
    complete = [
        (where, root)
        for where, tensors in views.items()
        for root in _roots(tensors, names)
        if prefix is None or root == prefix
    ]
    chosen = _choose(complete, path) if complete else None
    if chosen is None:
        raise _incomplete(views, names, arch, width, path)
    where, root = chosen
    top = loaded.root if isinstance(loaded.root, Mapping) else {}
    view = View(top=top, path=where, tensors=views[where], container=loaded.container)
    return _format(arch, root, names), view


def _format(arch: str, root: str, names: list[str]) -> Format:
    plain = Format(name=NAME, root=re.escape(root), matches=None, normalize=lambda view: None)
    return replace(plain, classifier=f"{head_name(arch)}.", names=frozenset(names))


def _renamed(tensors: Tensors) -> dict[str, torch.Tensor]:
    renamed = {}
    for key, tensor in tensors.items():
        for pattern, replacement in _OLD_NAMES:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def _roots(tensors: Tensors, names: list[str]) -> list[str]:
    ends = [key.removesuffix(names[0]) for key in tensors if re.search(rf"(^|\.){re.escape(names[0])}$", key)]
    return [root for root in ends if all(root + name in tensors for name in names)]


def _choose(complete: list[tuple[str, str]], path: str | Path) -> tuple[str, str]:
    """Choose the averaged weights, as elsewhere, else the only ones."""
    first = next(
        (only for name in _PREFERRED if len(only := [each for each in complete if each[0] == name]) == 1),
        complete,
    )
    if len(first) > 1:
        where, root = first[0]
        places = ", ".join(f"{a or 'the top'} below '{b}'" for a, b in first)
        choice = f"pretrain.part={where} " if where else ""
        raise CheckpointError(
            f"{path} holds several such networks: {places}", f"say which: {choice}pretrain.prefix={root}"
        )
    return first[0]


def _incomplete(
    views: Mapping[str, Tensors], names: list[str], arch: str, width: int, path: str | Path
) -> CheckpointError:
    """Return the error that counts the network's tensors in the file, by the ends of their names."""
    keys = [key for tensors in views.values() for key in tensors]
    missing = [
        name for name in names if not any(re.search(rf"(^|\.){re.escape(name)}$", key) for key in keys)
    ]
    named = missing or names[:1]
    contents = shorten(sorted({key.split(".")[0] for key in keys})) or "no network"
    return CheckpointError(
        f"{path} does not hold the network of {chosen_by(arch, width)}: {len(names) - len(missing)} of its "
        f"{len(names)} tensors are there below one prefix (missing {shorten(named, 2)}; found {contents})",
        "a network of timm: model=timm model.name=NAME; of this package: model=NAME",
    )
