"""Caltech-256: 257 classes with clutter, the first 60 files a class train."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, class_folders
from robust_transfer.data.sources.caltech import first_files_listing

FOLDER = "caltech256/256_ObjectCategories"
NUM_TRAIN = 60


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; a class folder is <number>.<name>, and stray folders inside one are left out."""
    folders = class_folders(root / FOLDER, "the folder of classes")
    classes = {folder: folder.partition(".")[2] or folder for folder in folders}
    return first_files_listing(root, FOLDER, classes, split, NUM_TRAIN)
