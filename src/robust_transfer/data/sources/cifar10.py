"""CIFAR-10: 50,000 training images in five batches, 10,000 test images."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.cifar import cifar_listing, read_pickle

FOLDER = "cifar-10-batches-py"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split."""
    batches = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    names = read_pickle(root / FOLDER / "batches.meta")["label_names"]
    return cifar_listing(root, FOLDER, batches, "labels", names)
