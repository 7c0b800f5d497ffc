"""Open the split that a configuration names."""

from __future__ import annotations

from robust_transfer.config.data import DataConfig, DatasetConfig
from robust_transfer.data.dataset import ImageDataset, open_dataset


def open_split(
    dataset: DatasetConfig, data: DataConfig, split: str, *, generated: int | None = None
) -> ImageDataset:
    """Open train, validation or test of a configured data set; raises what `open_dataset` raises."""
    return open_dataset(
        dataset.name,
        dataset.root or data.root,
        split,
        verify=data.verify,
        partition=dataset.partition,
        shots=dataset.shots,
        train_fraction=dataset.train_fraction,
        split_seed=dataset.split_seed or 0,
        validation_fraction=dataset.validation_fraction,
        on_error=data.on_error,
        generated=generated,
    )
