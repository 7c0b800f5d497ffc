"""Caltech-101 and Caltech-256 have no official split: the first k files a class train, the others test.

So do Salman et al. 2020 and the study (they seed a generator for it, then draw nothing from it).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, file_listing, images_in


def first_files_listing(
    root: Path, folder: str, classes: Mapping[str, str], split: str, first: int
) -> Listing:
    """List the first `first` files of every class, or the others.

    classes : folder name -> class name, in the order of the labels
    """
    items = []
    for label, class_folder in enumerate(classes):
        files = images_in(root / folder / class_folder)
        if len(files) <= first:
            raise DataError(
                f"{root / folder / class_folder} holds {len(files)} images "
                f"(expected more than the {first} that train)",
                "the archive was unpacked in part: unpack it again",
            )
        chosen = files[first:] if split == "test" else files[:first]
        items += [(f"{folder}/{class_folder}/{file}", label) for file in chosen]
    return file_listing(root, classes.values(), items)
