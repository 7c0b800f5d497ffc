"""CIFAR-10 and CIFAR-100: the published pickles, read into memory without trusting them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robust_transfer.core.errors import DataError
from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing

_ALLOWED = {"ndarray", "dtype", "_reconstruct", "_frombuffer", "scalar"}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles lists, dicts, strings, numbers and numpy arrays; any other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how newer pickles spell bytes
            return super().find_class(module, name)
        if module.partition(".")[0] == "numpy" and name in _ALLOWED:
            # numpy.core became numpy._core: the current home, without a deprecation warning.
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_pickle(path: Path) -> dict[str, Any]:
    """Read one batch file."""
    if not path.is_file():
        raise DataError(f"{path} is missing", "the archive was unpacked in part: unpack it again")
    try:
        with path.open("rb") as stream:
            content: dict[str, Any] = _ArraysOnly(stream, encoding="latin1").load()
            return content
    except Exception as error:
        raise DataError(f"{path} cannot be read as a CIFAR batch ({error})") from error


def cifar10(home: Path, split: str) -> Listing:
    """List CIFAR-10: 50,000 training images in five batches, 10,000 test images."""
    batches = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    return _listing(home, batches, "labels", read_pickle(home / "batches.meta")["label_names"])


def cifar100(home: Path, split: str) -> Listing:
    """List CIFAR-100: 50,000 training and 10,000 test images; the fine labels."""
    return _listing(home, [split], "fine_labels", read_pickle(home / "meta")["fine_label_names"])


def _listing(home: Path, batches: Sequence[str], labels_key: str, names: list[str]) -> Listing:
    """Read `batches` and order their images by label, then batch and row."""
    pixels, labels, paths = [], [], []
    for batch in batches:
        content = read_pickle(home / batch)
        pixels.append(np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
        labels += [int(label) for label in content[labels_key]]
        paths += [f"{batch}/{row:05d}" for row in range(len(content[labels_key]))]
    order = np.argsort(labels, kind="stable")
    images = np.concatenate(pixels).transpose(0, 2, 3, 1)[order]
    return Listing(names, [paths[i] for i in order], [labels[i] for i in order], ArrayImages(images))
