"""Which part of a set is used: the one object by which a split is requested."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.config.data import DatasetConfig
from robust_transfer.core.errors import ConfigError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Selection:
    """A part of a set.

    partition : official partition of sun397 and dtd, 1..10 (default 1)
    shots, train_fraction : images per class, or share of each class, of the images left for training
    split_seed : keys the draw of validation, shots and fraction; validation does not depend on the other two
    validation_fraction : share of each class of the training set that is held out
    class_map : text file of a user's own folder: its class folders, one per line, in the order of the labels
    generated : images of keyed noise in place of the set, this many per split; no shots are drawn from them

    Raises
    ------
    ConfigError : shots and train_fraction are both given
    """

    partition: int | None = None
    shots: int | None = None
    train_fraction: float | None = None
    split_seed: int = 0
    validation_fraction: float = 0.0
    class_map: str | None = None
    generated: int | None = None

    def __post_init__(self) -> None:
        if self.shots is not None and self.train_fraction is not None:
            raise ConfigError("shots and train_fraction are both given (expected at most one)")

    @classmethod
    def of(cls, dataset: DatasetConfig, generated: int | None = None) -> Selection:
        """Return the part that a configuration names."""
        return cls(
            dataset.partition,
            dataset.shots,
            dataset.train_fraction,
            dataset.split_seed or 0,
            dataset.validation_fraction,
            dataset.class_map,
            generated,
        )

    def check_split(self, split: str) -> None:
        """Refuse a split that does not exist, or has no images."""
        if split not in SPLITS:
            raise ConfigError(f"split '{split}' (expected one of {', '.join(SPLITS)})")
        if split == "validation" and self.validation_fraction == 0:
            raise ConfigError(
                "the validation split is empty (validation_fraction is 0)", "validation_fraction=0.1"
            )
