"""The data sets: what they are, where their images lie, how they become batches.

`robust_transfer.data.catalogue` and the sources behind it import no torch, so that a plan stays quick; the
names below are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_transfer.core.lazy import lazily

if TYPE_CHECKING:
    from robust_transfer.data.dataset import ImageDataset, open_dataset
    from robust_transfer.data.loaders import Batch, evaluation_batches, subset_indices, training_batches
    from robust_transfer.data.transforms import eval_transform, train_transform
    from robust_transfer.data.views import two_views

_HOME = {
    "ImageDataset": "dataset",
    "open_dataset": "dataset",
    "Batch": "loaders",
    "evaluation_batches": "loaders",
    "subset_indices": "loaders",
    "training_batches": "loaders",
    "eval_transform": "transforms",
    "train_transform": "transforms",
    "two_views": "views",
}
__all__ = [
    "Batch",
    "ImageDataset",
    "eval_transform",
    "evaluation_batches",
    "open_dataset",
    "subset_indices",
    "train_transform",
    "training_batches",
    "two_views",
]

__getattr__ = lazily(__name__, _HOME)
