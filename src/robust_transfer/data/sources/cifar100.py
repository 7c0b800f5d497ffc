"""CIFAR-100: 50,000 training and 10,000 test images; the fine labels."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.cifar import cifar_listing, read_pickle

FOLDER = "cifar-100-python"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split."""
    names = read_pickle(root / FOLDER / "meta")["fine_label_names"]
    return cifar_listing(root, FOLDER, [split], "fine_labels", names)
