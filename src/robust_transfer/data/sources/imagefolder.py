"""A user's own folder: <root>/train and <root>/test (or val), one folder a class inside."""

from __future__ import annotations

import os
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import IMAGE_SUFFIXES, Listing, class_folders, file_listing


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; `root` is the folder itself."""
    if split == "train":
        return folder_listing(root, "train", "train")
    part = next((name for name in ("test", "val") if (root / name).is_dir()), None)
    if part is None:
        raise DataError(f"{root} has no test part (expected a folder test/ or val/)")
    return folder_listing(root, "train", part)


def folder_listing(root: Path, train: str, part: str) -> Listing:
    """List root/part with the class ids of root/train (its folders, sorted by code point)."""
    classes = class_folders(root / train, "the folder of training images")
    label_of = {name: label for label, name in enumerate(classes)}
    if not classes:
        raise DataError(f"{root / train} holds no class folders (expected one folder a class)")
    unknown = [name for name in class_folders(root / part, "the folder of images") if name not in label_of]
    if unknown:
        raise DataError(f"{root / part} has classes that {train}/ lacks: {', '.join(unknown[:5])}")
    items: list[tuple[str, int]] = []
    for name in classes:
        files = _images_below(root, f"{part}/{name}")
        if not files and part == train:
            raise DataError(f"{root / part / name} holds no images (expected at least one)")
        items += [(file, label_of[name]) for file in files]
    return file_listing(root, classes, items)


def _images_below(root: Path, folder: str) -> list[str]:
    return [
        f"{Path(directory).relative_to(root).as_posix()}/{name}"
        for directory, _, names in os.walk(root / folder)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    ]
