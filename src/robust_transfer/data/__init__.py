"""The data sets: what they are, where their images lie, how they become batches.

Importing this package imports no torch, so that a plan stays quick. Of the torch side, `training_batches` and
`evaluation_batches` are in `data.loaders`, transforms in `data.transforms`, SimCLR's views in `data.views`.
"""

from robust_transfer.data.dataset import ImageDataset, open_dataset

__all__ = ["ImageDataset", "open_dataset"]
