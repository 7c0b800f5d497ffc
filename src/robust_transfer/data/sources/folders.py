"""Sets of class folders: a user's own (imagefolder), ImageNet."""

from __future__ import annotations

import os
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import IMAGE_SUFFIXES, Listing, class_folders, file_listing


def imagefolder(home: Path, split: str) -> Listing:
    """List a user's own folder: train/ and test/ (or val/), one folder a class inside."""
    if split == "train":
        return folder_listing(home, "train", "train")
    part = next((name for name in ("test", "val") if (home / name).is_dir()), None)
    if part is None:
        raise DataError(f"{home} has no test part (expected a folder test/ or val/)")
    return folder_listing(home, "train", part)


def imagenet(home: Path, split: str) -> Listing:
    """List ImageNet: train/ and val/, one folder a WordNet id.

    torchvision's class wants the devkit or meta.bin beside it, which are not needed.
    """
    if split == "train":
        return folder_listing(home, "train", "train")
    if loose := next(home.glob("val/*.JPEG"), None):
        raise DataError(
            f"{loose} lies loose in val/ (expected val/<wnid>/...)", "rt-data fetch imagenet sorts them"
        )
    return folder_listing(home, "train", "val")


def folder_listing(home: Path, train: str, part: str) -> Listing:
    """List home/part with the class ids of home/train (its folders, sorted by code point)."""
    classes = class_folders(home / train, "the folder of training images")
    label_of = {name: label for label, name in enumerate(classes)}
    if not classes:
        raise DataError(f"{home / train} holds no class folders (expected one folder a class)")
    extra = [name for name in class_folders(home / part, "the folder of images") if name not in label_of]
    if extra:
        raise DataError(f"{home / part} has classes that {train}/ lacks: {', '.join(extra[:5])}")
    items: list[tuple[str, int]] = []
    for name in classes:
        files = _images_below(home, f"{part}/{name}")
        if not files and part == train:
            raise DataError(f"{home / part / name} holds no images (expected at least one)")
        items += [(file, label_of[name]) for file in files]
    return file_listing(home, classes, items)


def _images_below(home: Path, folder: str) -> list[str]:
    return [
        f"{Path(directory).relative_to(home).as_posix()}/{name}"
        for directory, _, names in os.walk(home / folder)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    ]
