"""faces: 100 faces and 100 other patches (25x25, gray) of Labeled Faces in the Wild, inside scikit-image.

Split: of each class the first 50 of the file train, the last 50 test. Nothing is drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.package_file import package_file

CLASSES = ["face", "other"]  # the file's order
PER_CLASS, TRAIN_PER_CLASS = 100, 50


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; the file's values 0..1 become 0..255."""
    values = np.load(package_file("skimage", "data/lfw_subset.npy", "scikit-image"), allow_pickle=False)
    rows = np.arange(len(values))
    first = rows % PER_CLASS < TRAIN_PER_CLASS
    rows = rows[~first if split == "test" else first]
    paths = [f"lfw_subset.npy/{row:03d}" for row in rows]
    images = ArrayImages(np.rint(255 * values[rows]).astype(np.uint8))
    return Listing(CLASSES, paths, (rows // PER_CLASS).tolist(), images)
