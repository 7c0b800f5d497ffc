"""Pre-training that trains nothing: random weights, or weights from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.model import check_normalize
from robust_transfer.config.schema import option
from robust_transfer.core.choices import CHANNELS
from robust_transfer.core.errors import ConfigError


@dataclass
class NoneConfig:
    """No pre-training: fine-tuning starts from random weights."""

    name: str = option("method")


@dataclass
class CheckpointConfig:
    """Pre-trained weights from a file."""

    recipe_version: ClassVar[int] = 1

    name: str = option("method")
    path: str | None = option("file with the weights", by_content=True)
    weights: str | None = option(
        "instead of a file: torchvision:NAME, timm:NAME.TAG, hf:OWNER/REPO[/FILE], or as in rt-report zoo",
        by_content=True,
    )
    format: str = option("format of the file; auto: recognised by its keys")
    normalize: str | list[list[float]] | None = option("normalisation of the weights; null: the file's own")
    trust: bool = option("let the file run code while it is read", identity=False)
    part: str | None = option(
        "which state_dict of the file, such as ema; null: by the format", default=None, default_for_hash=None
    )
    prefix: str | None = option(
        "what stands before the network's names; null: found", default=None, default_for_hash=None
    )
    channels: str = option(
        "order of the channels that the file's network takes; Caffe's take bgr",
        choices=CHANNELS,
        default="rgb",
        default_for_hash="rgb",
    )

    @property
    def file_format(self) -> str:
        """The format that the file is read as: torchvision's own weights are torchvision's."""
        return "torchvision" if (self.weights or "").startswith("torchvision:") else self.format

    def check(self, path: str) -> None:
        """Exactly one origin, and a known normalisation."""
        if (self.path is None) == (self.weights is None):
            raise ConfigError(f"{path} needs one of path and weights", f"{path}.path=FILE")
        if self.normalize is not None:
            check_normalize(self.normalize, f"{path}.normalize")
