"""Food-101: meta/train.txt and meta/test.txt. The training labels are noisy on purpose."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.data.listing import Listing, file_listing, read_lines, require_files

FOLDER = "food-101"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; class ids follow classes.txt, class names labels.txt."""
    meta = root / FOLDER / "meta"
    classes = read_lines(meta / "classes.txt", "the list of classes")
    names = read_lines(meta / "labels.txt", "the list of class names")
    label_of = {folder: label for label, folder in enumerate(classes)}
    stems = read_lines(meta / f"{split}.txt", f"the list of {split} images")
    items = [(f"{FOLDER}/images/{stem}.jpg", label_of[stem.partition("/")[0]]) for stem in stems]
    require_files(root, f"{FOLDER}/images", [path for path, _ in items])
    return file_listing(root, names, items)
