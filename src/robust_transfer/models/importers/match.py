"""Give a checkpoint's tensors torchvision's names, and check them against their network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from robust_transfer.config.model import CIFAR_RESNETS, DEFAULT_WIDTH, chosen_by
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.backbones import backbone
from robust_transfer.models.checkpoint import check_finite, shorten
from robust_transfer.models.importers.formats import WRAPPERS, Format, Tensors

_BACKBONE = re.compile(r"^(conv1|bn1|layer\d)\.")
_COUNTER = "num_batches_tracked"

# The CIFAR networks of every source may have the names of their common ancestor, pytorch-cifar.
_CIFAR_NAMES = (
    (r"^(layer\d\.\d+)\.shortcut\.", r"\1.downsample."),
    (r"^linear\.", "fc."),
)


@dataclass
class Mapped:
    """A checkpoint's tensors by their role.

    Parameters
    ----------
    backbone : under torchvision's names
    head : "weight" and, most often, "bias" of the linear classifier; empty where there is none
    outside : keys that are neither (projections, momentum copies, statistics), as in the file
    stripped : prefixes of the backbone's names
    renamed : name in the file below that -> torchvision's, where they differ
    """

    backbone: dict[str, torch.Tensor] = field(default_factory=dict)
    head: dict[str, torch.Tensor] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    stripped: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)


def map_keys(tensors: Tensors, source: Format, path: str | Path) -> Mapped:
    """Sort a state_dict into backbone, head and the rest.

    Raises
    ------
    CheckpointError : two tensors claim one name, or none is the backbone's
    """
    mapped = Mapped()
    origin: dict[str, str] = {}
    classifier = source.classifier or ""
    for key, tensor in tensors.items():
        prefix = re.match(source.root, key)
        below = key[prefix.end() :] if prefix else ""
        name = _rename(below, source)
        at_top = re.sub(r"^" + WRAPPERS, "", key) if classifier.startswith("/") else name
        if _is_backbones(name, source):
            if name in origin:
                raise CheckpointError(f"{path}: both {origin[name]} and {key} would be the backbone's {name}")
            origin[name] = key
            mapped.backbone[name] = tensor
            if below != name:
                mapped.renamed[below] = name
            if prefix and prefix[0] and prefix[0] not in mapped.stripped:
                mapped.stripped.append(prefix[0])
        elif classifier and at_top.removeprefix(classifier.lstrip("/")) in ("weight", "bias"):
            mapped.head[at_top.rpartition(".")[2]] = tensor
        else:
            mapped.outside.append(key)
    if not mapped.head and classifier:
        _take_sequential_head(mapped, tensors, classifier)
    if not mapped.backbone:
        raise CheckpointError(
            f"{path} has no ResNet where {source.name} keeps it (found {shorten(sorted(tensors))})"
        )
    return mapped


def _is_backbones(name: str, source: Format) -> bool:
    """Tell a tensor of the network; more layers of a part that it has are taken too, to be refused."""
    if source.names is None:
        return _BACKBONE.match(name) is not None
    parts = {known.split(".")[0] for known in source.names if "." in known}
    inside = name in source.names or name.split(".")[0] in parts
    return inside and not (source.classifier and name.startswith(source.classifier))


def _take_sequential_head(mapped: Mapped, tensors: Tensors, classifier: str) -> None:
    """Take a head that is the only layer with weights of a Sequential, as after a Dropout: `fc.1.weight`."""
    name = re.escape(classifier.lstrip("/").rstrip("."))
    inside = re.compile(rf"^(?P<layer>(?:.*\.)?(?:{name}|linear)\.\d+)\.(?P<what>.*)$")
    matches = [match for key in mapped.outside if (match := inside.match(key))]
    kinds = sorted(match["what"] for match in matches)
    if len({match["layer"] for match in matches}) != 1 or kinds not in (["weight"], ["bias", "weight"]):
        return
    if any(match["what"] == "weight" and tensors[match[0]].ndim != 2 for match in matches):
        return
    mapped.head = {match["what"]: tensors[match[0]] for match in matches}
    taken = {match[0] for match in matches}
    mapped.outside = [key for key in mapped.outside if key not in taken]


def _rename(key: str, source: Format) -> str:
    for pattern, replacement in (*source.rename, *_CIFAR_NAMES):
        key = re.sub(pattern, replacement, key)
    return key


# (bottlenecks, blocks per stage, kernel of the stem, channels and inputs of the first block's middle layer)
_KINDS: dict[tuple[Any, ...], str] = {
    (False, (2, 2, 2, 2), 7, 64, 64): "resnet18",
    (False, (3, 4, 6, 3), 7, 64, 64): "resnet34",
    (True, (3, 4, 6, 3), 7, 64, 64): "resnet50",
    (True, (3, 4, 23, 3), 7, 64, 64): "resnet101",
    (True, (3, 8, 36, 3), 7, 64, 64): "resnet152",
    (True, (3, 4, 6, 3), 7, 128, 128): "wide_resnet50_2",
    (True, (3, 4, 23, 3), 7, 128, 128): "wide_resnet101_2",
    (True, (3, 4, 6, 3), 7, 128, 4): "resnext50_32x4d",
    (True, (3, 4, 23, 3), 7, 256, 8): "resnext101_32x8d",
    (True, (3, 4, 23, 3), 7, 256, 4): "resnext101_64x4d",
}
IDENTIFIED = (*_KINDS.values(), "resnet18_small", *CIFAR_RESNETS)


def identify(tensors: Tensors) -> tuple[str, int] | None:
    """Tell (architecture, width) from the names and shapes of a backbone; None: none of IDENTIFIED."""
    stem, middle = tensors.get("conv1.weight"), tensors.get("layer1.0.conv2.weight")
    if stem is None or stem.ndim != 4 or "layer1.0.bn2.weight" not in tensors:
        return None
    blocks = [len({k.split(".")[1] for k in tensors if k.startswith(f"layer{s}.")}) for s in (1, 2, 3, 4)]
    bottleneck = "layer1.0.conv3.weight" in tensors
    width, kernel = stem.shape[0], stem.shape[-1]
    if kernel == 3 and not bottleneck and "bn1.weight" in tensors:
        if blocks == [2, 2, 2, 2]:
            return "resnet18_small", width
        end = "" if "layer2.0.downsample.0.weight" in tensors else "_a"
        name = f"cifar_resnet{2 + 6 * blocks[0]}{end}"
        complete = blocks[:3] == blocks[:1] * 3 and blocks[3] == 0 and width == 16
        return (name, DEFAULT_WIDTH) if complete and name in CIFAR_RESNETS else None
    shape = tuple(middle.shape[:2]) if middle is not None else (64, 64)
    kind: tuple[Any, ...] = (bottleneck, tuple(blocks), kernel, *shape)
    name = _KINDS.get(kind, "")
    return (name, width) if name and width == DEFAULT_WIDTH else None


def fit(
    mapped: Mapped, arch: str, width: int, path: str | Path, image_size: int | None = None
) -> dict[str, torch.Tensor]:
    """Return the backbone's full state_dict, or refuse: every name and every shape must be there.

    Files from before torch 0.4.1 have no `num_batches_tracked`, which the output ignores: it is set to 0.

    Raises
    ------
    CheckpointError : a tensor is missing, of another shape, NaN or infinite, or the file has more layers
    """
    with torch.device("meta"):
        expected = backbone(arch, 0, width, image_size).state_dict()
    tensors = mapped.backbone
    missing = sorted(n for n in expected.keys() - tensors.keys() if not n.endswith(_COUNTER))
    unexpected = sorted(tensors.keys() - expected.keys())
    shapes = [
        f"{n} {tuple(tensors[n].shape)} (expected {tuple(expected[n].shape)})"
        for n in sorted(expected.keys() & tensors.keys())
        if tensors[n].shape != expected[n].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("other shape", shapes)]
    if any(names for _, names in faults):
        count = len(expected) - len(missing) - len(shapes)
        parts = "; ".join(f"{fault}: {shorten(names, 2)}" for fault, names in faults if names)
        raise CheckpointError(
            f"{path} fits {count} of the {len(expected)} backbone tensors of {arch} (expected all): {parts}",
            _other_architecture(tensors, arch, width),
        )
    check_finite(tensors, path)
    counter = torch.zeros((), dtype=torch.int64)
    return {name: tensors.get(name, counter) for name in expected}


def _other_architecture(tensors: Tensors, arch: str, width: int) -> str:
    actual = identify(tensors)
    if actual is None:
        return "the file's network is no ResNet of torchvision or for CIFAR: model=timm model.name=NAME?"
    if actual == (arch, width):
        return "the architecture fits: the file is incomplete or of another format"
    return f"the file looks like {actual[0]}: {chosen_by(*actual)}"
