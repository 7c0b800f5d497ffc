"""A file that belongs to no stage: its network and the transform of its images."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_transfer.config.methods import CheckpointConfig
from robust_transfer.config.model import DEFAULT_WIDTH
from robust_transfer.config.run import EvaluateConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.data.sizes import resized_side
from robust_transfer.models import zoo
from robust_transfer.pipeline.stage import CheckpointMetadata, Stage, whole_image
from robust_transfer.store.records import Lineage


def by_name(config: EvaluateConfig) -> EvaluateConfig:
    """Replace published weights in `checkpoint=` by their file and their publisher's settings."""
    weights = config.checkpoint
    if not re.match(r"[a-z]{2,}:[^/]", weights) or Path(weights).exists():
        return config
    from robust_transfer.models import published_weights

    entry = zoo.catalogue().get(weights)
    arch = config.model.arch if config.model else entry.arch if entry else ""
    if not arch and not weights.startswith("hf:"):
        raise ConfigError(f"checkpoint={weights} needs its network", "model=resnet50")
    return dataclasses.replace(
        config,
        checkpoint=str(published_weights(weights, arch=arch)),
        normalize=config.normalize or zoo.own_normalize(weights),
        format="torchvision" if weights.startswith("torchvision:") else config.format,
    )


def file_metadata(path: Path, config: EvaluateConfig) -> CheckpointMetadata:
    """Return a file's metadata; whatever could not be evaluated is refused here.

    Raises
    ------
    CheckpointError : as in `models.describe_file`; among others, `model=` names another network
    """
    from robust_transfer.models import describe_file

    expected = config.model
    described = describe_file(
        path,
        arch=expected.arch if expected else None,
        width=expected.width if expected else DEFAULT_WIDTH,
        image_size=config.image_size or (expected.image_size if expected else None),
        format=config.format,
        normalize=config.normalize,
        trust=config.trust,
        **where(config),
    )
    size, source = _image_size(config, described)
    reading = {
        "arch": described["arch"],
        "width": described["width"],
        "image_size": size,
        "format": config.format,
        "normalize": config.normalize,
        "trust": config.trust,
        **where(config),
    }
    shape = {name: reading[name] for name in ("arch", "width", "image_size")}
    return CheckpointMetadata(
        key=digest(described["sha256"], {**reading, "trust": None}),
        path=path.resolve(),
        reading=reading,
        arch=described["arch"],
        num_classes=described["num_classes"],
        train_sigma=described.get("train_sigma"),
        lineage=Lineage(
            pretrain="checkpoint",
            file_sha256=described["sha256"],
            train_sigma=described.get("train_sigma"),
            **shape,
        ),
        whole_image=True if described["native_images"] and config.whole_image is None else config.whole_image,
        image_size_source=source,
        normalization=normalization(described["mean"], described["std"], described["normalization_source"]),
    )


def where(config: EvaluateConfig | CheckpointConfig) -> dict[str, str]:
    """Return the options that say where in a file the network is, and its channels, if not the default."""
    options = {"part": config.part, "prefix": config.prefix, "channels": config.channels}
    return {name: value for name, value in options.items() if value not in (None, "rgb")}


def _image_size(config: EvaluateConfig, described: Mapping[str, Any]) -> tuple[int, str]:
    """Return the side of the images and where it came from: what is given, the file, `model=`, the stem."""
    if config.image_size:
        return config.image_size, "given"
    if config.model and not described["image_size_known"]:
        return config.model.image_size, "by model="
    return described["image_size"], described["image_size_source"]


def check_stage(stage: CheckpointMetadata, config: EvaluateConfig) -> None:
    """Refuse a network or an image size that is not the stage's own.

    Raises
    ------
    ConfigError : `model=` or `image_size=` contradicts the stage
    """
    model, expected = stage.model, config.model
    if expected and (expected.arch, expected.width) != (model.arch, model.width):
        raise ConfigError(
            f"model={expected.arch} of width {expected.width} contradicts {stage.path}, "
            f"which holds {model.arch} of width {model.width}",
            "leave model= out: a stage knows its network",
        )
    if config.image_size not in (None, model.image_size):
        raise ConfigError(
            f"image_size={config.image_size} contradicts {stage.path}, trained at {model.image_size}",
            "leave image_size= out: a stage knows its own",
        )


def evaluation_line(stage: Stage) -> str:
    """Describe in one line what is evaluated: network, size and transform of the images, normalisation."""
    model = stage.parent
    assert isinstance(model, CheckpointMetadata)
    size, network = model.model.image_size, model.model
    side = size if whole_image(stage.dataset, model) else resized_side(size)
    crop = "not cropped" if side == size else f"cropped to {size}"
    return (
        f"{model.path.name}: {network.arch} of width {network.width}, {model.num_classes} classes; "
        f"images of {size} px ({model.image_size_source}; short side resized to {side}, {crop}); "
        f"{model.normalization}" + (f"; behind the denoiser {model.denoiser.name}" if model.denoiser else "")
    )


def normalization(mean: Sequence[float], std: Sequence[float], source: str) -> str:
    """Write a mean and a standard deviation and where they came from."""
    numbers = ("[" + ", ".join(f"{value:.4g}" for value in values) + "]" for values in (mean, std))
    return "mean {} std {} ({})".format(*numbers, source)


def digest(*parts: Any) -> str:
    """Return the sha256 of values' text: the key of a file."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()
