"""The catalogue: what a data set is, what a key holds of it, whether it is there. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.core.errors import ConfigError, DataError, did_you_mean
from robust_transfer.data import splits
from robust_transfer.data.archives import Archive
from robust_transfer.data.entries import ENTRIES, Entry
from robust_transfer.data.sources import list_split

if TYPE_CHECKING:
    from robust_transfer.data.listing import Listing

__all__ = ["NAMES", "Archive", "Entry", "check_counts", "get", "identity", "missing", "official_listing"]

_BY_NAME = {entry.name: entry for entry in ENTRIES}
NAMES = tuple(_BY_NAME)
SPLITS = ("train", "validation", "test")


def get(name: str) -> Entry:
    """Return the entry of a data set; an unknown name is a ConfigError with the nearest known one."""
    if name not in _BY_NAME:
        raise ConfigError(f"data set '{name}' is not known", did_you_mean(name, NAMES))
    return _BY_NAME[name]


def check_partition(entry: Entry, partition: int | None) -> int | None:
    """Return the partition to use (1 where there are several and none is asked for)."""
    if partition is None:
        return 1 if entry.partitions else None
    if not entry.partitions:
        raise ConfigError(f"{entry.name} has one fixed split, no partitions (found partition={partition})")
    if not 1 <= partition <= entry.partitions:
        raise ConfigError(f"partition={partition} of {entry.name} (expected 1..{entry.partitions})")
    return partition


def identity(
    name: str,
    *,
    root: str | Path | None = None,
    partition: int | None = None,
    shots: int | None = None,
    train_fraction: float | None = None,
    split_seed: int = 0,
    validation_fraction: float = 0.0,
    generated: int | None = None,
) -> dict[str, Any]:
    """Return what a stage key holds of a data set; needs no data on disk, but for `imagefolder`.

    Options that change nothing are left out: the seed where nothing is drawn, the partition where there is
    one split. `root` (the folder itself) is read for `imagefolder` only: its key is the hash of its listing.
    """
    entry = get(name)
    found: dict[str, Any] = {"name": name, "version": entry.version}
    if generated is not None:
        return {**found, "generated": generated}
    if name == "imagefolder":
        if root is None:
            raise ConfigError("an imagefolder data set needs its folder", "dataset.root=DIR")
        found["listing_sha256"] = _folder_hash(Path(root))
    if (used := check_partition(entry, partition)) is not None:
        found["partition"] = used
    drawn = {
        "shots": shots,
        "train_fraction": train_fraction,
        "validation_fraction": validation_fraction or None,
    }
    drawn = {key: value for key, value in drawn.items() if value is not None}
    return {**found, **drawn, **({"split_seed": split_seed} if drawn else {})}


def _folder_hash(root: Path) -> str:
    """Hash (path, size) of every image of a user's folder: a plan sees that the data changed."""
    digest = hashlib.sha256()
    for split in ("train", "test"):
        try:
            paths = list_split("imagefolder", root, split, None).paths
        except DataError:
            if split == "train":
                raise
            continue  # a source needs no test part
        for path in paths:
            digest.update(f"{path}\t{(root / path).stat().st_size}\n".encode())
    return digest.hexdigest()


def official_listing(
    name: str, root: str | Path, split: str, *, partition: int | None = None, verify: bool = True
) -> Listing:
    """List the whole official split (train or test) without opening an image.

    Raises
    ------
    DataError : something is missing; with `verify`, also when counts are not the catalogue's
    """
    entry = get(name)
    listing = list_split(name, Path(root), split, check_partition(entry, partition))
    if verify:
        check_counts(entry, split, listing)
    return listing


def check_counts(entry: Entry, split: str, listing: Listing) -> None:
    """Compare a listing with the catalogue: classes and images (where images may be lost: listed ones)."""
    if entry.num_classes is None:
        return
    classes, images = len(listing.class_names), listing.expected or len(listing.paths)
    expected = entry.test if split == "test" else entry.train
    if (classes, images) != (entry.num_classes, expected):
        raise DataError(
            f"{entry.name} {split} is not the official split "
            f"(expected {expected} images of {entry.num_classes} classes, found {images} of {classes})",
            f"rt-data fetch {entry.name}",
            "to run with what is there, and have it marked: data.verify=false",
        )


def missing(
    name: str,
    root: str | Path,
    split: str,
    *,
    partition: int | None = None,
    verify: bool = True,
    shots: int | None = None,
    validation_fraction: float = 0.0,
    generated: int | None = None,
) -> str | None:
    """Say in one line what keeps a split from being read and where it goes, or None. Opens no image.

    Shots are compared with the class sizes; an option that can never be right is a ConfigError.
    """
    entry = get(name)
    if generated is not None:
        return None
    official = "test" if split == "test" else "train"
    try:
        listing = official_listing(name, root, official, partition=partition, verify=verify)
        if shots is not None and split == "train":
            splits.check_shots(listing.labels, listing.class_names, shots, validation_fraction)
    except DataError as error:
        place = f"; layout under {root}: {entry.layout}" if entry.archives else ""
        return f"{error.what}{place}"
    return None
