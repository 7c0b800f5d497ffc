"""Configuration of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.extensions import extensions

DEFAULT_WIDTH = 64
FIXED_WIDTH = ("resnet18", "resnet50")  # torchvision's
GROUP = "robust_transfer.backbones"  # entry points of architectures from other packages


@cache
def backbones() -> dict[str, str]:
    """Return `module:function` of every architecture's builder, those of other packages included.

    A builder is called with (num_classes, width) and returns an `nn.Module` from normalised images
    (B, 3, H, W) to logits (B, K), whose last layer is an `nn.Linear` named `fc`. Nothing is imported here.

    Raises
    ------
    ConfigError : two packages bring one name
    """
    home = "robust_transfer.models.backbones"
    builders = {name: f"{home}:{name}" for name in ("resnet50", "resnet18", "resnet18_small")}
    for extension in extensions(GROUP):
        extension.add_to(builders, extension.name, extension.value)
    return builders


def check_architecture(arch: str, width: int, path: str = "model") -> None:
    """Refuse an unknown architecture, and a width that torchvision's networks do not have."""
    if arch not in backbones():
        raise ConfigError(f"{path}.arch='{arch}' is unknown", did_you_mean(arch, backbones()))
    if width < 1:
        raise ConfigError(f"{path}.width={width} (expected at least 1)")
    if width != DEFAULT_WIDTH and arch in FIXED_WIDTH:
        raise ConfigError(
            f"{path}.width={width} (expected {DEFAULT_WIDTH} for {arch})", "model=resnet18_small"
        )


@dataclass
class ModelConfig:
    """The architecture and the input it sees."""

    arch: str = option("architecture: the name of its builder")
    width: int = option("channels of the first stage; 64 for resnet18 and resnet50", low=1)
    image_size: int = option("height and width of the input in pixels", low=8)
    normalize: str | list[list[float]] = option(
        "imagenet, cifar, none, or [mean, std]; weights bring their own"
    )

    def check(self, path: str) -> None:
        """Refuse an unknown architecture, a width that it does not have, and an unknown normalisation."""
        check_architecture(self.arch, self.width, path)
        check_normalize(self.normalize, f"{path}.normalize")


def check_normalize(value: str | list[list[float]], path: str) -> None:
    """Refuse what is neither a known name nor two lists of three numbers with a positive deviation."""
    if isinstance(value, str):
        if value not in ("imagenet", "cifar", "none"):
            raise ConfigError(f"{path}='{value}' (expected imagenet, cifar, none or [mean, std])")
    elif (
        [len(part) for part in value] != [3, 3]
        or not all(math.isfinite(x) for part in value for x in part)
        or min(value[1]) <= 0
    ):
        raise ConfigError(f"{path}={value} (expected [[m, m, m], [s, s, s]] with s > 0)")
    else:
        check_unit_images(value[0], path)


def check_unit_images(mean: list[float], path: str) -> None:
    """Refuse a mean of images in 0..255: all images here are in [0, 1]."""
    if max(abs(x) for x in mean) > 1:
        raise ConfigError(f"{path} has mean {mean}: it is of images in 0..255", "divide mean and std by 255")
