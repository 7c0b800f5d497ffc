"""Configuration of data sets and of where their images lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


@dataclass
class DatasetConfig:
    """A data set and the part of it that is used."""

    name: str = option("name in the catalogue")
    root: str | None = option("folder of an imagefolder data set", by_content=True)
    shots: int | None = option("training images per class; null: all", low=1)
    train_fraction: float | None = option("stratified share of the training set; null: all", above=0, high=1)
    partition: int | None = option("official partition of sun397 and dtd", low=1, high=10)
    split_seed: int | None = option(
        "seed of shots, train_fraction and validation; null: the run's seed", low=0
    )
    augment: str = option("training augmentation", choices=("crop_flip", "crop", "crop_flip_color", "none"))
    validation_fraction: float = option("stratified share held out of the training set", low=0, below=1)
    evaluate_on: str = option("which split evaluators read", choices=("test", "validation"))
    label: str | None = option(
        "name of an imagefolder data set in tables; null: imagefolder", identity=False, default=None
    )
    class_map: str | None = option(
        "text file with the class folders of an imagefolder data set, in the order of a model's outputs",
        default=None,
    )

    def check(self, path: str) -> None:
        """Refuse combinations that contradict each other."""
        if self.shots is not None and self.train_fraction is not None:
            raise ConfigError(f"{path}.shots and {path}.train_fraction are both given (expected one)")
        if self.evaluate_on == "validation" and self.validation_fraction == 0:
            raise ConfigError(
                f"{path}.evaluate_on=validation needs a held-out part ({path}.validation_fraction is 0)",
                f"{path}.validation_fraction=0.1",
            )
        if self.name == "imagefolder" and not self.root:
            raise ConfigError(f"{path}.root is not given", f"{path}.root=DIR with train/ and test/ or val/")
        for field in ("label", "class_map"):
            if getattr(self, field) is not None and self.name != "imagefolder":
                raise ConfigError(f"{path}.{field} is for your own folder ({path}={self.name} has its own)")
        if self.label is not None and not re.fullmatch(r"\w+", self.label, re.ASCII):
            raise ConfigError(f"{path}.label='{self.label}' (expected letters, digits and underscores)")

    @property
    def shown_name(self) -> str:
        """The data set's name in tables and directories."""
        return self.label or self.name


@dataclass
class DataConfig:
    """Where images are and what is done when one is not right."""

    root: str = option("folder with all data sets, in torchvision's layout", identity=False)
    verify: bool = option("counts and checksums must be the catalogue's", identity=False)
    on_error: str = option("an image cannot be read", choices=("stop", "skip"), identity=False)
    cache: str = option(
        "images decoded once, for training: auto (below the root, where the disk has room), off, or a folder",
        identity=False,
        default="off",
    )
