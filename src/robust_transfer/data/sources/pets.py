"""Oxford-IIIT Pets: trainval / test. Some of its .jpg files are GIF, PNG or RGBA inside."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, file_listing, read_lines, require_files

FOLDER = "oxford-iiit-pet"


def list_split(root: Path, split: str, partition: int | None) -> Listing:
    """List the split; class ids are those of the lists (folder order by letter would give others)."""
    annotations = root / FOLDER / "annotations"
    lists = {
        part: read_lines(annotations / f"{part}.txt", f"the {part} list") for part in ("trainval", "test")
    }
    names = _class_names(lists["trainval"] + lists["test"])
    rows = [line.split() for line in lists["test" if split == "test" else "trainval"]]
    items = [(f"{FOLDER}/images/{stem}.jpg", int(number) - 1) for stem, number, *_ in rows]
    require_files(root, f"{FOLDER}/images", [path for path, _ in items])
    return file_listing(root, names, items)


def _class_names(lines: list[str]) -> list[str]:
    """Map "american_bulldog_12 2 2 1" -> name of class 2: American Bulldog."""
    names: dict[int, str] = {}
    for line in lines:
        stem, number, *_ = line.split()
        words = stem.rpartition("_")[0].split("_")
        names[int(number)] = " ".join(word.capitalize() for word in words)
    if sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(
            f"the lists of {FOLDER}/annotations name classes {sorted(names)} (expected 1, 2, 3, ...)"
        )
    return [names[number] for number in sorted(names)]
