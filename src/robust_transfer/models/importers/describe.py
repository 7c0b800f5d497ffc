"""The metadata of a checkpoint file that a plan needs before anything is computed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from robust_transfer.config.model import DEFAULT_WIDTH, TIMM, TORCHVISION, WIDE_RESNETS
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.models.folders import SHARDS, shards, weights_file
from robust_transfer.models.importers.detect import OURS
from robust_transfer.models.importers.load import (
    Parsed,
    check_own_arch,
    head_classes,
    is_own_file,
    parse_foreign,
)
from robust_transfer.models.importers.match import fit, identify
from robust_transfer.models.importers.normalization import (
    architecture_beside,
    find_normalization,
    input_size_beside,
)
from robust_transfer.models.metadata import read_metadata
from robust_transfer.models.normalized import Normalize, resolve_normalize
from robust_transfer.models.timm_networks import table_entry


def content_sha256(path: str | Path) -> str:
    """Return the sha256 of a file's content in hexadecimal; of shards, that of their sha256 in order."""
    path = weights_file(path)
    if path.name.endswith(SHARDS):
        digests = [content_sha256(file) for file in sorted(shards(path))]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(
    path: str | Path,
    *,
    arch: str | None = None,
    width: int = DEFAULT_WIDTH,
    image_size: int | None = None,
    format: str = "auto",
    normalize: Normalize | None = None,
    trust: bool = False,
    part: str | None = None,
    prefix: str | None = None,
    channels: str = "rgb",
) -> dict[str, Any]:
    """Describe a checkpoint file; whatever `import_checkpoint` would refuse in it is refused here.

    Parameters
    ----------
    arch, width : what the network must be; None: whatever it is
    image_size : side of the images in pixels, for networks that are built for one
    format, normalize, trust, part, prefix, channels : as in `import_checkpoint`

    Returns
    -------
    dict with sha256 (of the content), format, arch, width, num_classes (None: no head), mean, std,
    normalization_source, train_sigma (None: unknown), image_size, image_size_source,
    image_size_known (False: the usual size for networks with this stem) and native_images
    (foreign files with a 3x3 stem: by convention they take uncropped images of their size)

    Raises
    ------
    CheckpointError : as in `import_checkpoint`, or `arch` is None and the network is none of ours
    """
    path = weights_file(path)
    if format == OURS or (format == "auto" and is_own_file(path)):
        return _describe_own(path, normalize, None if arch is None else (arch, width))
    options: dict[str, Any] = {"format": format, "trust": trust, "part": part, "prefix": prefix}
    network = (arch, width) if arch else named_beside(path)
    if network is None:
        parsed, network = _identified(path, options)
    else:
        parsed = parse_foreign(path, network=network, **options)
    arch, width = network
    fit(parsed.mapped, arch, width, path, image_size)
    mean, std, normalization_source = find_normalization(
        parsed.view, parsed.source, path, normalize, channels
    )
    return {
        "sha256": content_sha256(path),
        "format": parsed.source.name,
        "arch": arch,
        "width": width,
        "num_classes": head_classes(parsed.mapped),
        "mean": mean,
        "std": std,
        "normalization_source": normalization_source,
        "train_sigma": None,
        **_image_size(arch, parsed, path),
    }


def named_beside(path: str | Path) -> tuple[str, int] | None:
    """Return timm's network that a config.json beside a file names; None: none, or a ResNet."""
    name = architecture_beside(Path(path))
    if name is None or name in TORCHVISION:
        return None
    try:
        table_entry(name)
    except ConfigError:
        return None
    return f"{TIMM}{name}", DEFAULT_WIDTH


def _identified(path: str | Path, options: dict[str, Any]) -> tuple[Parsed, tuple[str, int]]:
    """Read a file whose network is not given: a ResNet by its structure, a wide one by names."""
    try:
        parsed = parse_foreign(path, **options)
        network = identify(parsed.mapped.backbone)
        if network is not None:
            return parsed, network
        refusal = CheckpointError(
            f"{path} ({parsed.source.name}) holds no ResNet of torchvision's or for CIFAR",
            "say the network: model=timm model.name=NAME, or model=preactresnet18",
        )
    except CheckpointError as error:
        refusal = error
    for arch in WIDE_RESNETS:
        try:
            parsed = parse_foreign(path, network=(arch, DEFAULT_WIDTH), **options)
            fit(parsed.mapped, arch, DEFAULT_WIDTH, path)
            return parsed, (arch, DEFAULT_WIDTH)
        except CheckpointError:
            continue
    raise refusal


def _describe_own(
    path: str | Path, normalize: Normalize | None, expected: tuple[str, int] | None
) -> dict[str, Any]:
    metadata = read_metadata(path)
    if expected is not None:
        check_own_arch((metadata["arch"], metadata["width"]), expected, path)
    overridden = normalize is not None
    mean, std = resolve_normalize(normalize) if normalize is not None else (metadata["mean"], metadata["std"])
    return {
        "sha256": content_sha256(path),
        "format": OURS,
        "arch": metadata["arch"],
        "width": metadata["width"],
        "num_classes": metadata["num_classes"] or None,
        "mean": mean,
        "std": std,
        "normalization_source": "given" if overridden else "read from the file: metadata",
        "image_size": metadata["image_size"],
        "image_size_known": True,
        "image_size_source": "its own",
        "native_images": False,
        "train_sigma": metadata["train_sigma"],
    }


def _image_size(arch: str, parsed: Parsed, path: str | Path) -> dict[str, Any]:
    """Read the size off timm's config.json or table; a 3x3 stem is for CIFAR's 32, 7x7 for ImageNet's 224."""
    stated, source, small = input_size_beside(Path(path)), "read from config.json", False
    if arch.startswith(TIMM):
        usual = table_entry(arch.removeprefix(TIMM)).input_size[-1]
        source = source if stated else "timm's of the network"
    else:
        kernel = parsed.mapped.backbone["conv1.weight"].shape[-1]
        small = kernel == 3
        usual = 32 if small else 224
        source = source if stated else f"by its {kernel}x{kernel} stem"
    return {
        "image_size": stated or usual,
        "image_size_known": stated is not None,
        "image_size_source": source,
        "native_images": small,
    }
