"""Configuration of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


@dataclass
class ModelConfig:
    """The architecture and the input it sees."""

    arch: str = option("architecture", choices=("resnet50", "resnet18", "resnet18_small"))
    width: int = option("channels of the first stage; other than 64 for resnet18_small only", low=1)
    image_size: int = option("height and width of the input in pixels", low=8)
    normalize: str | list[list[float]] = option(
        "imagenet, cifar, none, or [mean, std]; weights bring their own"
    )

    def check(self, path: str) -> None:
        """Refuse a width that torchvision's networks do not have, and an unknown normalisation."""
        if self.width != 64 and self.arch != "resnet18_small":
            raise ConfigError(
                f"{path}.width={self.width} (expected 64 for {self.arch})", "model=resnet18_small"
            )
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
