"""textures: patches (32x32, gray) of three photographs of 512x512 pixels inside scikit-image.

Split: the left half of each photograph trains, the right half tests, so that no patch borders on one of the
other part but along the middle. Nothing is drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing
from robust_transfer.data.sources.package_file import package_file

CLASSES = ["brick", "grass", "gravel"]
PATCH = 32


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split: the patches of a class row by row."""
    patches, paths, labels = [], [], []
    for label, name in enumerate(CLASSES):
        with Image.open(package_file("skimage", f"data/{name}.png", "scikit-image")) as photograph:
            pixels = np.asarray(photograph.convert("L"))
        half = pixels.shape[1] // 2
        columns = range(half, 2 * half, PATCH) if split == "test" else range(0, half, PATCH)
        for top in range(0, pixels.shape[0], PATCH):
            for left in columns:
                patches.append(pixels[top : top + PATCH, left : left + PATCH])
                paths.append(f"{name}.png/{top:03d}-{left:03d}")
                labels.append(label)
    return Listing(CLASSES, paths, labels, ArrayImages(np.stack(patches)))
