"""SUN397: ten official partitions of 50 + 50 images a class, out of 108,754."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, file_listing, read_lines, require_files

FOLDER = "SUN397"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List one part of a partition; nested classes keep their whole name: apartment_building/outdoor."""
    folders = read_lines(root / FOLDER / "ClassName.txt", "the list of classes")
    label_of = {folder: label for label, folder in enumerate(folders)}
    list_file = root / FOLDER / f"{'Testing' if split == 'test' else 'Training'}_{partition or 1:02d}.txt"
    items = []
    for line in read_lines(list_file, f"the {split} list of partition {partition} (Partitions.zip)"):
        folder = line.rpartition("/")[0]
        if folder not in label_of:
            raise DataError(f"{list_file}: '{line}' is of no class of ClassName.txt")
        items.append((f"{FOLDER}{line}", label_of[folder]))
    require_files(root, FOLDER, [path for path, _ in items])
    return file_listing(root, [folder.split("/", 2)[2] for folder in folders], items)
