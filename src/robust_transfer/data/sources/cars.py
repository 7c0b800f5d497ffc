"""Stanford Cars: labels of the devkit, the test labels in a file of their own."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, file_listing, require_files
from robust_transfer.data.sources.matlab import read_mat

FOLDER = "stanford_cars"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; the class ids of the files start at 1."""
    home = root / FOLDER
    if split == "test":
        annotations = read_mat(home / "cars_test_annos_withlabels.mat", "annotations")
    else:
        annotations = read_mat(home / "devkit" / "cars_train_annos.mat", "annotations")
    names = [str(name) for name in read_mat(home / "devkit" / "cars_meta.mat", "class_names")]
    images = f"{FOLDER}/cars_{split}"
    # int() before the subtraction: the file keeps the ids as uint8.
    items = [(f"{images}/{row['fname']}", int(row["class"]) - 1) for row in annotations]
    require_files(root, images, [path for path, _ in items])
    return file_listing(root, names, items)
