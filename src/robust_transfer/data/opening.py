"""Open the split that a configuration names."""

from __future__ import annotations

from robust_transfer.config.data import DataConfig, DatasetConfig
from robust_transfer.data.dataset import ImageDataset, open_selection
from robust_transfer.data.selection import Selection


def open_split(
    dataset: DatasetConfig, data: DataConfig, split: str, *, generated: int | None = None
) -> ImageDataset:
    """Open train, validation or test of a configured data set; raises what `open_dataset` raises."""
    selection = Selection.of(dataset, generated)
    root = dataset.root or data.root
    return open_selection(dataset.name, root, split, selection, verify=data.verify, on_error=data.on_error)
