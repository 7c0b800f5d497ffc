"""Configuration of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.extensions import extensions

DEFAULT_WIDTH = 64
GROUP = "robust_transfer.backbones"  # entry points of architectures from other packages
SMALLEST = 8  # side of an image in pixels
TIMM = "timm-"  # what stands before timm's name in an architecture's

TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("wide_resnet50_2", "wide_resnet101_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)
CIFAR_RESNETS = tuple(f"cifar_resnet{depth}{end}" for end in ("", "_a") for depth in (20, 32, 44, 56, 110))
WIDE_RESNETS = tuple(f"wideresnet{size}" for size in ("16_4", "28_10", "34_10", "70_16"))
PREACTIVATED = ("preactresnet18", "preactresnet18_v2")
FIXED_WIDTH = (*TORCHVISION, *CIFAR_RESNETS, *WIDE_RESNETS, *PREACTIVATED)


@cache
def backbones() -> dict[str, str]:
    """Return `module:function` of every architecture's builder, those of other packages included.

    A builder is called with (num_classes, width) and returns an `nn.Module` from normalised images
    (B, 3, H, W) to logits (B, K), whose last layer is an `nn.Linear` named `fc`. Nothing is imported here.
    Beside them there is every classifier of timm, as `timm-NAME`.

    Raises
    ------
    ConfigError : two packages bring one name
    """
    home = "robust_transfer.models"
    builders = {name: f"{home}.backbones:{name}" for name in (*TORCHVISION, "resnet18_small")}
    builders |= {name: f"{home}.cifar_networks:{name}" for name in FIXED_WIDTH if name not in TORCHVISION}
    for extension in extensions(GROUP):
        extension.add_to(builders, extension.name, extension.value)
    return builders


def check_architecture(arch: str, width: int, path: str = "model") -> None:
    """Refuse an unknown architecture, and a width that it does not have."""
    if arch not in backbones() and not arch.startswith(TIMM):
        raise ConfigError(f"{path}.arch='{arch}' is unknown", did_you_mean(arch, backbones()))
    if width < 1:
        raise ConfigError(f"{path}.width={width} (expected at least 1)")
    if width != DEFAULT_WIDTH and (arch in FIXED_WIDTH or arch.startswith(TIMM)):
        raise ConfigError(
            f"{path}.width={width} (expected {DEFAULT_WIDTH} for {arch})", "model=resnet18_small"
        )


def chosen_by(arch: str, width: int) -> str:
    """Return the words that choose an architecture on a command line."""
    if arch.startswith(TIMM):
        return f"model=timm model.name={arch.removeprefix(TIMM)}"
    return f"model={arch}" + ("" if arch in FIXED_WIDTH else f" model.width={width}")


@dataclass
class ModelConfig:
    """The architecture and the input it sees."""

    arch: str = option("architecture: the name of its builder")
    width: int = option("channels of the first stage, where the architecture has a choice, else 64", low=1)
    image_size: int = option("height and width of the input in pixels; 0: timm's of the network", low=0)
    normalize: str | list[list[float]] = option(
        "imagenet, cifar, none, or [mean, std]; weights bring their own; own: timm's of the network"
    )
    name: str | None = option("timm's name of the network, with model=timm alone", default=None, repr=False)

    def __post_init__(self) -> None:
        if self.arch == "timm" and self.name:
            self.arch = f"{TIMM}{self.name}"

    def check(self, path: str) -> None:
        """Refuse an unknown architecture, a width or size that it does not have, an unknown normalisation."""
        if self.arch == "timm":
            raise ConfigError(
                f"{path}.name is not chosen",
                f"{path}.name=NAME of timm.list_models(), such as resnet50d",
            )
        check_architecture(self.arch, self.width, path)
        of_timm = self.arch.startswith(TIMM)
        if self.image_size < SMALLEST and not (of_timm and self.image_size == 0):
            raise ConfigError(f"{path}.image_size={self.image_size} (expected at least {SMALLEST})")
        if not (of_timm and self.normalize == "own"):
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
