"""The pickled batches of CIFAR: read without trusting them, written where a copy comes as images."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from robust_transfer.core.errors import DataError
from robust_transfer.core.files import atomic_path

SIDE = 32
CIFAR10 = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]  # as in batches.meta
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


def write_set(
    name: str, home: Path, images: dict[str, list[tuple[str, str, Image.Image]]], num_classes: int
) -> None:
    """Write images as the batches of cifar10 or cifar100.

    images : of each split, (class name, file name, image of 32 x 32 pixels)

    Raises
    ------
    DataError : a split is empty, the classes are not the set's, or an image has another size
    """
    names = sorted({class_name for of_split in images.values() for class_name, _, _ in of_split})
    if len(names) != num_classes or (name == "cifar10" and names != CIFAR10):
        expected = ", ".join(CIFAR10) if name == "cifar10" else f"{num_classes} classes"
        raise DataError(f"the class folders of {name} are {', '.join(names[:12])} (expected {expected})")
    for split, of_split in images.items():
        if not of_split:
            raise DataError(f"no {split} images of {name} (expected class folders in {split}/)")
    home.mkdir(parents=True, exist_ok=True)
    labels_key, meta, batches = {
        "cifar10": ("labels", ("batches.meta", "label_names"), [f"data_batch_{i}" for i in range(1, 6)]),
        "cifar100": ("fine_labels", ("meta", "fine_label_names"), ["train"]),
    }[name]
    for split, files in (("train", batches), ("test", ["test_batch" if name == "cifar10" else "test"])):
        for number, file in enumerate(files):
            _write_batch(home / file, images[split][number :: len(files)], names, labels_key)
    _write_pickle(home / meta[0], {meta[1]: names})


def _write_batch(
    path: Path, images: Sequence[tuple[str, str, Image.Image]], names: list[str], labels_key: str
) -> None:
    for _, file, image in images:
        if image.size != (SIDE, SIDE):
            raise DataError(f"{file} has {image.size[0]} x {image.size[1]} pixels (expected {SIDE} x {SIDE})")
    pixels = np.stack([np.asarray(image) for _, _, image in images])
    content = {
        "data": pixels.transpose(0, 3, 1, 2).reshape(len(images), -1),
        labels_key: [names.index(class_name) for class_name, _, _ in images],
        "filenames": [file for _, file, _ in images],
    }
    _write_pickle(path, content)


def _write_pickle(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        pickle.dump(content, stream, protocol=2)
