"""Read the gzipped CSV of images that ships inside an installed Python package."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from robust_transfer.errors import DataError


def read_package_csv(package: str, inner_path: str, install: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (pixels (N, H*W) uint8, labels (N,) int); the label is the last column.

    The file is read where it lies, without importing the package: importing takes twenty times as long.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"the Python package {install} is not installed (its images are used)",
            "pip install 'robust-transfer[demo]'",
        )
    path = Path(spec.submodule_search_locations[0]) / inner_path
    if not path.is_file():
        raise DataError(f"{path} is missing (expected in the package {install})", f"pip install -U {install}")
    with gzip.open(path, "rt") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
    return table[:, :-1], table[:, -1].astype(int)
