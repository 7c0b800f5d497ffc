"""FGVC Aircraft at the level of variants: trainval / test. The copyright banner at the bottom is left on."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, file_listing, read_lines, require_files

FOLDER = "fgvc-aircraft-2013b/data"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; class names hold spaces and slashes (F/A-18), files are named by number."""
    home = root / FOLDER
    names = read_lines(home / "variants.txt", "the list of variants")
    label_of = {name: label for label, name in enumerate(names)}
    part = "test" if split == "test" else "trainval"
    lines = read_lines(home / f"images_variant_{part}.txt", f"the list of {split} images")
    pairs = [line.split(" ", 1) for line in lines]
    items = [(f"{FOLDER}/images/{number}.jpg", label_of[variant]) for number, variant in pairs]
    require_files(root, f"{FOLDER}/images", [path for path, _ in items])
    return file_listing(root, names, items)
