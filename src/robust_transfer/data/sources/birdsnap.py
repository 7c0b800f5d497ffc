"""Birdsnap: test_images.txt is the test part, the rest of images.txt trains.

Many of the images are gone from their origin, and copies differ in what they hold. So class ids come from
species.txt, never from the folders that happen to exist, and the images that are there are used and counted.
"""

from __future__ import annotations

import csv
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, file_listing, files_under, read_lines

FOLDER = "birdsnap"
IMAGES = f"{FOLDER}/download/images"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List what is there of the split; `expected` is the length of the official list."""
    species = _read_table(root / FOLDER / "species.txt", "the list of species")
    species.sort(key=lambda row: int(row["id"]))
    label_of = {int(row["id"]): label for label, row in enumerate(species)}
    test = set(read_lines(root / FOLDER / "test_images.txt", "the list of test images")[1:])  # after a header
    images = _read_table(root / FOLDER / "images.txt", "the list of images")
    items = [
        (f"{IMAGES}/{row['path']}", label_of[int(row["species_id"])])
        for row in images
        if (row["path"] in test) == (split == "test")
    ]
    present = files_under(root, IMAGES)
    found = [item for item in items if item[0] in present]
    if not found:
        raise DataError(f"none of the {len(items)} {split} images is below {root / IMAGES}")
    return file_listing(root, [row["common"] for row in species], found, expected=len(items))


def _read_table(path: Path, what: str) -> list[dict[str, str]]:
    lines = read_lines(path, what)
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
