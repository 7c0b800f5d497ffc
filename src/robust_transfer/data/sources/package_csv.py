"""Read the gzipped CSV of images that ships inside an installed Python package."""

from __future__ import annotations

import gzip

import numpy as np

from robust_transfer.data.sources.package_file import package_file


def read_package_csv(package: str, inner_path: str, install: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (pixels (N, H*W) uint8, labels (N,) int); the label is the last column."""
    with gzip.open(package_file(package, inner_path, install), "rt") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
    return table[:, :-1], table[:, -1].astype(int)
