"""What a key holds of a data set, what its splits list, whether they are there. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import splits
from robust_transfer.data.entries import Archive, Entry, get, names
from robust_transfer.data.selection import Selection
from robust_transfer.data.sources import list_split

if TYPE_CHECKING:
    from robust_transfer.data.listing import Listing

__all__ = ["Archive", "Entry", "check_counts", "get", "identity", "missing", "names", "official_listing"]

ALL = Selection()


def check_partition(entry: Entry, partition: int | None) -> int | None:
    """Return the partition to use (1 where there are several and none is asked for)."""
    if partition is None:
        return 1 if entry.partitions else None
    if not entry.partitions:
        raise ConfigError(f"{entry.name} has one fixed split, no partitions (found partition={partition})")
    if not 1 <= partition <= entry.partitions:
        raise ConfigError(f"partition={partition} of {entry.name} (expected 1..{entry.partitions})")
    return partition


def identity(name: str, selection: Selection = ALL, *, root: str | Path | None = None) -> dict[str, Any]:
    """Return what a stage key holds of a data set; needs no data on disk, but for `imagefolder`.

    Options that change nothing are left out: the seed where nothing is drawn, the partition where there is
    one split. `root` (the folder itself) is read for `imagefolder` only: its key is the hash of its listing.
    """
    entry = get(name)
    values: dict[str, Any] = {"name": name, "version": entry.version}
    if selection.generated is not None:
        return {**values, "generated": selection.generated}
    if name == "imagefolder":
        if root is None:
            raise ConfigError("an imagefolder data set needs its folder", "dataset.root=DIR")
        values["listing_sha256"] = _folder_hash(Path(root))
    drawn = {
        "partition": check_partition(entry, selection.partition),
        "shots": selection.shots,
        "train_fraction": selection.train_fraction,
        "validation_fraction": selection.validation_fraction or None,
    }
    values |= {key: value for key, value in drawn.items() if value is not None}
    if values.keys() & {"shots", "train_fraction", "validation_fraction"}:
        values["split_seed"] = selection.split_seed
    return values


def _folder_hash(root: Path) -> str:
    """Hash (path, size) of every image of a user's folder: a plan sees that the data changed."""
    digest = hashlib.sha256()
    for split in ("train", "test"):
        try:
            paths = list_split(get("imagefolder"), root, split).paths
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
    listing = list_split(entry, Path(root), split, check_partition(entry, partition))
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
    name: str, root: str | Path, split: str, selection: Selection = ALL, *, verify: bool = True
) -> str | None:
    """Say in one line what keeps a split from being read and where it goes, or None. Opens no image.

    Shots are compared with the class sizes; an option that can never be right is a ConfigError.
    """
    entry = get(name)
    if selection.generated is not None:
        return None
    official = "test" if split == "test" else "train"
    try:
        listing = official_listing(name, root, official, partition=selection.partition, verify=verify)
        if selection.shots is not None and split == "train":
            splits.check_shots(
                listing.labels, listing.class_names, selection.shots, selection.validation_fraction
            )
    except DataError as error:
        place = f"; layout under {root}: {entry.layout}" if entry.archives else ""
        return f"{error.what}{place}"
    return None
