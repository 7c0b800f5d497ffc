"""Caltech-101 and Caltech-256 have no official split: the first k files of a class train, the others test.

As in Salman et al. 2020 and the study (they seed a generator, then draw nothing from it).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, class_folders, file_listing, images_in


def caltech101(home: Path, split: str) -> Listing:
    """List Caltech-101, 30 training images per class: Faces and Faces_easy are two classes.

    BACKGROUND_Google is not a class.
    """
    folders = class_folders(home, "the folder of classes")
    return _first_files(home, {name: name for name in folders if name != "BACKGROUND_Google"}, split, 30)


def caltech256(home: Path, split: str) -> Listing:
    """List Caltech-256, 60 training images per class: 257 classes with clutter.

    A class folder is <number>.<name>, and stray folders inside one are left out.
    """
    folders = class_folders(home, "the folder of classes")
    return _first_files(home, {name: name.partition(".")[2] or name for name in folders}, split, 60)


def _first_files(home: Path, classes: Mapping[str, str], split: str, first: int) -> Listing:
    """List the first `first` files of every class, or the others.

    classes : folder name -> class name, in the order of the labels
    """
    items = []
    for label, folder in enumerate(classes):
        files = images_in(home / folder)
        if len(files) <= first:
            raise DataError(
                f"{home / folder} holds {len(files)} images (expected more than the {first} that train)",
                "the archive was unpacked in part: unpack it again",
            )
        chosen = files[first:] if split == "test" else files[:first]
        items += [(f"{folder}/{file}", label) for file in chosen]
    return file_listing(home, classes.values(), items)
