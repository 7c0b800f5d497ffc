"""Caltech-101: 101 classes without the background, the first 30 files a class train."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, class_folders
from robust_transfer.data.sources.caltech import first_files_listing

FOLDER = "caltech101/101_ObjectCategories"
NUM_TRAIN = 30


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; Faces and Faces_easy are two classes, BACKGROUND_Google is none."""
    folders = class_folders(root / FOLDER, "the folder of classes")
    classes = {folder: folder for folder in folders if folder != "BACKGROUND_Google"}
    return first_files_listing(root, FOLDER, classes, split, NUM_TRAIN)
