"""Turn a checkpoint of any known format into a `Classifier`, with a report of what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from robust_transfer.config.model import DEFAULT_WIDTH, check_architecture, chosen_by
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.backbones import backbone, head_name, num_features
from robust_transfer.models.checkpoint import check_finite, load_model
from robust_transfer.models.container import container, read_header
from robust_transfer.models.folders import weights_file
from robust_transfer.models.importers.detect import OURS, choose_format
from robust_transfer.models.importers.formats import Format, Tensors, View
from robust_transfer.models.importers.match import Mapped, fit, map_keys
from robust_transfer.models.importers.native import has_own_names, native_format
from robust_transfer.models.importers.normalization import find_normalization, is_normalization
from robust_transfer.models.importers.report import ImportReport
from robust_transfer.models.importers.structure import state_dicts
from robust_transfer.models.metadata import is_ours
from robust_transfer.models.normalized import Classifier, Normalize, resolve_normalize
from robust_transfer.models.safe_load import LoadedFile, load_file


@dataclass
class Parsed:
    """A foreign file after reading, before it is checked against an architecture."""

    loaded: LoadedFile
    source: Format
    view: View
    mapped: Mapped
    warnings: list[str]
    part: str | None = None


def parse_foreign(
    path: str | Path,
    *,
    network: tuple[str, int] | None = None,
    format: str = "auto",
    trust: bool = False,
    part: str | None = None,
    prefix: str | None = None,
) -> Parsed:
    """Read a foreign file, choose its format and name its tensors.

    network : (architecture, width) to look for; None, and for ResNets: whatever the file has

    Raises
    ------
    CheckpointError : unreadable, of no known format, or ambiguous
    """
    loaded = load_file(path, trust=trust)
    if network is not None and has_own_names(network[0]):
        source, view = native_format(loaded, *network, path, part=part, prefix=prefix)
        return Parsed(loaded, source, view, map_keys(view.tensors, source, path), [], part)
    source, view, warnings = choose_format(loaded, format, path, part=part, prefix=prefix)
    return Parsed(loaded, source, view, map_keys(view.tensors, source, path), warnings, part)


def is_own_file(path: str | Path) -> bool:
    """Tell whether a file is a `model.safetensors` of this package."""
    return container(path) == "safetensors" and is_ours(read_header(path))


def import_checkpoint(
    path: str | Path,
    *,
    arch: str,
    width: int = DEFAULT_WIDTH,
    image_size: int = 224,
    format: str = "auto",
    normalize: Normalize | None = None,
    trust: bool = False,
    part: str | None = None,
    prefix: str | None = None,
    channels: str = "rgb",
    keep_head: bool = False,
) -> tuple[Classifier, ImportReport]:
    """Load a checkpoint file of any known format; every tensor of the backbone must be there.

    Parameters
    ----------
    arch, width : the network that the weights are for
    image_size : side in pixels, kept with the model; a file of ours has its own
    format : one of `detect.FORMAT_NAMES`; "auto" goes by the keys
    normalize : overrides what the file or its format says
    trust : allow plain pickle, which runs whatever the file says, where the safe readers fail
    part, prefix : which state_dict of the file, and what precedes the network's names in it; None: detected
    channels : "bgr" for a file whose network takes blue first (Caffe's): its stem is flipped
    keep_head : keep the linear classifier; otherwise the model returns features (num_classes 0)

    Returns
    -------
    model : on the CPU, in eval mode; kept classes are named by their numbers
    report : what was matched, renamed, left out, and which normalisation was taken

    Raises
    ------
    CheckpointError : unreadable, ambiguous, not the architecture, no normalisation, NaN, no head to keep
    ConfigError : unknown architecture, format or normalisation
    """
    check_architecture(arch, width)
    path = weights_file(path)
    if format == OURS or (format == "auto" and is_own_file(path)):
        return _import_own(path, arch=arch, width=width, normalize=normalize, keep_head=keep_head)
    parsed = parse_foreign(path, network=(arch, width), format=format, trust=trust, part=part, prefix=prefix)
    tensors = fit(parsed.mapped, arch, width, path, image_size)
    if channels == "bgr":
        tensors = _blue_first_to_rgb(tensors)
    mean, std, normalization_source = find_normalization(
        parsed.view, parsed.source, path, normalize, channels
    )
    num_classes = check_head(parsed.mapped, arch, width, path) if keep_head else 0
    network, where = backbone(arch, num_classes, width, image_size), head_name(arch)
    head = {f"{where}.{name}": tensor for name, tensor in parsed.mapped.head.items()} if keep_head else {}
    if keep_head:
        head.setdefault(f"{where}.bias", torch.zeros(num_classes))
    network.load_state_dict({**tensors, **head})
    model = Classifier(
        network,
        arch=arch,
        width=width,
        class_names=[str(label) for label in range(num_classes)],
        image_size=image_size,
        mean=mean,
        std=std,
    )
    report = _report(parsed, path, tensors, model, normalization_source, declared=format != "auto")
    report.channels = channels
    return model.eval(), report


def _blue_first_to_rgb(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Flip the input channels of the first convolution."""
    stem = next(name for name, tensor in tensors.items() if tensor.ndim == 4 and tensor.shape[1] == 3)
    return {name: tensor.flip(1) if name == stem else tensor for name, tensor in tensors.items()}


def _report(
    parsed: Parsed,
    path: str | Path,
    tensors: Tensors,
    model: Classifier,
    normalization_source: str,
    *,
    declared: bool,
) -> ImportReport:
    mapped = parsed.mapped
    head: Literal["kept", "dropped", "absent"] = "absent"
    if mapped.head:
        head = "kept" if model.num_classes else "dropped"
    return ImportReport(
        path=str(path),
        format=parsed.source.name,
        declared=declared,
        arch=model.arch,
        container=parsed.loaded.container,
        reader=parsed.loaded.reader,
        mean=model.mean,
        std=model.std,
        normalization_source=normalization_source,
        matched=[name for name in tensors if name in mapped.backbone],
        missing=[name for name in tensors if name not in mapped.backbone],
        unexpected=[key for key in mapped.outside if not is_normalization(key)],
        renamed=mapped.renamed,
        stripped=mapped.stripped,
        ema_used=parsed.view.path.endswith("ema"),
        head=head,
        head_classes=head_classes(mapped),
        inert=parsed.loaded.inert,
        others=_other_networks(parsed),
        precision=_precision(mapped),
        warnings=_warnings(parsed, normalization_source),
    )


def _other_networks(parsed: Parsed) -> list[str]:
    """Return the other state_dicts of the file that hold a network."""
    networks = [path for path, tensors in state_dicts(parsed.loaded.root) if _named(tensors)]
    return [path for path in networks if path and path != parsed.view.path and path != parsed.part]


def _named(tensors: Tensors) -> bool:
    return any(key.endswith(".weight") for key in tensors)


def _precision(mapped: Mapped) -> str | None:
    """Return in which precision other than float32 the weights are kept."""
    types = {str(t.dtype).removeprefix("torch.") for t in mapped.backbone.values() if t.is_floating_point()}
    return ", ".join(sorted(types - {"float32"})) or None


def _warnings(parsed: Parsed, normalization_source: str) -> list[str]:
    """Drop the ambiguity that a normalisation read or given resolves; warn of code that ran."""
    warnings = parsed.warnings if normalization_source.startswith("inferred") else []
    if "weight" in parsed.mapped.head and "bias" not in parsed.mapped.head:
        warnings = [*warnings, "the head has no bias: zeros"]
    if parsed.loaded.reader == "trusted":
        warnings = [*warnings, "read by plain pickle (trust): code in the file was run"]
    return warnings


def head_classes(mapped: Mapped) -> int | None:
    """Return the number of classes of the file's head; None where it has none."""
    weight = mapped.head.get("weight")
    return None if weight is None else weight.shape[0]


def check_head(mapped: Mapped, arch: str, width: int, path: str | Path) -> int:
    """Return the number of classes of a head that can be kept.

    Raises
    ------
    CheckpointError : no linear classifier in the file, of another shape, NaN
    """
    head = mapped.head
    if "weight" not in head:
        raise CheckpointError(f"{path} has no linear classifier: it can only be fine-tuned")
    size, features = head["weight"].shape[0], num_features(arch, width)
    if head["weight"].shape != (size, features) or ("bias" in head and head["bias"].shape != (size,)):
        raise CheckpointError(
            f"{path}: its head has shape {tuple(head['weight'].shape)}, expected (classes, {features})"
        )
    check_finite({f"head {name}": tensor for name, tensor in head.items()}, path)
    return size


def check_own_arch(found: tuple[str, int], expected: tuple[str, int], path: str | Path) -> None:
    """Raise CheckpointError unless a file of ours holds the expected (architecture, width)."""
    if found != expected:
        raise CheckpointError(
            f"{path} holds {found[0]} of width {found[1]}, expected {expected[0]} of width {expected[1]}",
            chosen_by(*found),
        )


def _import_own(
    path: str | Path, *, arch: str, width: int, normalize: Normalize | None, keep_head: bool
) -> tuple[Classifier, ImportReport]:
    model = load_model(path)
    check_own_arch((model.arch, model.width), (arch, width), path)
    num_classes = model.num_classes
    normalization_source = "read from the file: metadata"
    if normalize is not None:
        mean, std = resolve_normalize(normalize)
        normalization_source = f"given; the file says mean {model.mean} std {model.std}"
        model = _renormalized(model, mean, std)
    if keep_head and not num_classes:
        raise CheckpointError(f"{path} has no head: it can only be fine-tuned")
    matched = [name for name in model.backbone.state_dict() if not name.startswith(f"{model.head_name}.")]
    if not keep_head:
        model.backbone.set_submodule(model.head_name, nn.Identity())
        model.class_names, model.num_classes = [], 0
    report = ImportReport(
        path=str(path),
        format=OURS,
        declared=False,
        arch=arch,
        container="safetensors",
        reader="safetensors",
        mean=model.mean,
        std=model.std,
        normalization_source=normalization_source,
        matched=matched,
        head=("kept" if keep_head else "dropped") if num_classes else "absent",
        head_classes=num_classes or None,
    )
    return model.eval(), report


def _renormalized(model: Classifier, mean: Sequence[float], std: Sequence[float]) -> Classifier:
    return Classifier(
        model.backbone,
        arch=model.arch,
        width=model.width,
        class_names=model.class_names,
        image_size=model.image_size,
        mean=mean,
        std=std,
        train_sigma=model.train_sigma,
    )
