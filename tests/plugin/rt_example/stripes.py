"""The data set: where its metadata stand, and the reader that they name."""

from pathlib import Path

import numpy as np

from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing

CATALOGUE = Path(__file__).with_name("catalogue.toml")
CLASSES = ["across", "down"]


def stripes(home, split):
    """List images of 8 by 8 pixels with stripes, 20 a class to train on and 10 to test on."""
    number = 20 if split == "train" else 10
    bars = np.tile(np.repeat([[60], [190]], 8, axis=1), (4, 1)).astype(np.uint8)
    pixels = np.stack([(bars if label == 0 else bars.T) + i for label in (0, 1) for i in range(number)])
    paths = [f"{split}/{CLASSES[label]}/{i}" for label in (0, 1) for i in range(number)]
    return Listing(CLASSES, paths, [0] * number + [1] * number, ArrayImages(pixels))
