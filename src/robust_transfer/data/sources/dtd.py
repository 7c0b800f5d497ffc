"""Describable Textures: ten official partitions; train and val of one train."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, file_listing, read_lines, require_files

FOLDER = "dtd/dtd"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List one part of a partition; the classes are those of all three lists, whatever part is asked for."""
    parts = {
        part: read_lines(root / FOLDER / "labels" / f"{part}{partition or 1}.txt", f"the {part} list")
        for part in ("train", "val", "test")
    }
    names = sorted({line.partition("/")[0] for lines in parts.values() for line in lines})
    label_of = {name: label for label, name in enumerate(names)}
    lines = parts["test"] if split == "test" else parts["train"] + parts["val"]
    items = [(f"{FOLDER}/images/{line}", label_of[line.partition("/")[0]]) for line in lines]
    require_files(root, f"{FOLDER}/images", [path for path, _ in items])
    return file_listing(root, names, items)
