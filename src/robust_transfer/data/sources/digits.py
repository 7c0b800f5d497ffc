"""digits: the 1,797 handwritten digits (8x8, gray) inside scikit-learn.

Split: the first 1,000 images of the file train, the last 797 test. Nothing is drawn; the file holds the
writers one after another, so the two parts have few writers in common.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.package_csv import read_package_csv

NUM_TRAIN = 1000


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; the values 0..16 become 0..255."""
    pixels, labels = read_package_csv("sklearn", "datasets/data/digits.csv.gz", "scikit-learn")
    rows = np.arange(len(labels))
    rows = rows[NUM_TRAIN:] if split == "test" else rows[:NUM_TRAIN]
    rows = rows[labels[rows].argsort(kind="stable")]
    scaled = np.rint(pixels.reshape(-1, 8, 8)[rows] * (255 / 16)).astype(np.uint8)
    paths = [f"digits.csv/{row:04d}" for row in rows]
    return Listing([str(digit) for digit in range(10)], paths, labels[rows].tolist(), ArrayImages(scaled))
