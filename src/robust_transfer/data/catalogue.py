"""A data set's identity in keys, the lists of its splits, and whether they are on disk. Imports no torch."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import splits
from robust_transfer.data.checksums import RUN_ANYWAY
from robust_transfer.data.entries import Archive, Entry, entries, get, names
from robust_transfer.data.lists import read_lines
from robust_transfer.data.once import once
from robust_transfer.data.selection import Selection
from robust_transfer.data.sources import list_split
from robust_transfer.data.whole import check_not_empty, check_whole

if TYPE_CHECKING:
    from robust_transfer.data.listing import Listing

__all__ = [
    "Archive",
    "Entry",
    "coverage",
    "entries",
    "get",
    "hash_folder",
    "identity",
    "missing",
    "names",
    "official_listing",
]

ALL = Selection()
SPLITS_HELD = 4  # train and test of the two sets of a run; the images of an array set come with its lists


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
    """Return a data set's part of a stage key; needs no data on disk, but for `imagefolder`.

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
        values["listing_sha256"] = once(hash_folder)(Path(root))
        if selection.class_map is not None:
            values["class_map"] = _class_order(selection.class_map)
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


def hash_folder(root: Path) -> str:
    """Hash (path, size) of every image of a user's folder: a plan sees that the data changed."""
    digest, errors = hashlib.sha256(), []
    for split in ("train", "test"):
        try:
            paths = once(list_split, SPLITS_HELD)(get("imagefolder"), root, split, None).paths
        except DataError as error:
            errors.append(error)
            continue  # a source needs no test part, an evaluation no training part
        for path in paths:
            digest.update(f"{path}\t{(root / path).stat().st_size}\n".encode())
    if len(errors) == 2:
        raise errors[0]
    return digest.hexdigest()


def official_listing(
    entry: Entry, root: str | Path, split: str, selection: Selection = ALL, *, verify: bool = True
) -> Listing:
    """List the whole official split (train or test) without opening an image.

    Raises
    ------
    DataError : nothing of it is there; with `verify`, also what keeps it from being whole
    """
    partition = check_partition(entry, selection.partition)
    listing = once(_listing, SPLITS_HELD)(entry, Path(root), split, partition, verify)
    if selection.class_map is not None:
        return listing.with_classes(_class_order(selection.class_map))
    return listing


def _listing(entry: Entry, root: Path, split: str, partition: int | None, verify: bool) -> Listing:
    listing = once(list_split, SPLITS_HELD)(entry, root, split, partition)
    check_not_empty(entry, root, split, listing)
    if verify:
        check_whole(entry, root, split, partition, listing)
    return listing


def _class_order(class_map: str) -> list[str]:
    return read_lines(Path(class_map), "the list of class folders (class_map)")


def coverage(
    name: str, root: str | Path, selection: Selection = ALL, *, verify: bool = True
) -> dict[str, tuple[int, int]]:
    """Return (images found, images of the official split) of train and test, where these can be listed.

    What is verified is complete, so only sets that may lack images are read.
    """
    entry, counts = get(name), {}
    for split in ("train", "test"):
        size = entry.size(split)
        if verify and size and not entry.lossy:
            counts[split] = (size, size)
            continue
        with suppress(DataError):
            count = len(official_listing(entry, root, split, selection, verify=False).paths)
            counts[split] = (count, size or count)
    return counts


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
        listing = official_listing(entry, root, official, selection, verify=verify)
        if selection.shots is not None and split == "train":
            splits.check_shots(
                listing.labels, listing.class_names, selection.shots, selection.validation_fraction
            )
    except DataError as error:
        place = f"; layout under {root}: {entry.layout}" if entry.archives else ""
        partial = f"; {RUN_ANYWAY}" if verify and RUN_ANYWAY in error.hints else ""
        return f"{error.what}{place}{partial}"
    return None
