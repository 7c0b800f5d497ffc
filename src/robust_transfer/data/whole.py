"""Is a split whole? One answer for status, check, plan, fetch and a run: files, lists, counts, images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.core.errors import DataError
from robust_transfer.data.checksums import RUN_ANYWAY, check_files
from robust_transfer.data.entries import Entry
from robust_transfer.data.pins import check_pinned

if TYPE_CHECKING:
    from robust_transfer.data.listing import Listing

LOSSY_SHARE = 0.5  # of a split that may be absent where its origin has lost images


def check_not_empty(entry: Entry, root: Path, split: str, listing: Listing) -> None:
    """Refuse a split without any image on disk."""
    if listing.paths:
        return
    if not listing.absent:
        raise DataError(f"{entry.name} {split} holds no images below {root / entry.folder}")
    first = min(path for _, path in listing.absent)
    folder = (root / first).parent
    deeper = folder / folder.name / Path(first).name
    raise DataError(
        f"none of the {listing.expected} listed {split} images of {entry.name} is there (expected "
        f"{root / first} and so on)",
        f"they lie one folder deeper: rt-data import {entry.name} --from {deeper.parent}"
        if deeper.is_file()
        else f"rt-data fetch {entry.name}",
    )


def check_whole(entry: Entry, root: Path, split: str, partition: int | None, listing: Listing) -> None:
    """Refuse a split that is not the complete official one; a user's own folder is complete as it is.

    Raises
    ------
    DataError : the first fault: a file's MD5, the list's counts or its data hash, images that are absent
    """
    if entry.num_classes is None:
        return
    check_files(root, entry)
    _check_counts(entry, split, listing)
    _check_classes(entry, root, listing)
    _check_list(entry, split, partition, listing)
    _check_images(entry, root, split, listing)
    if (what := pin_of(entry, split, partition)) is not None:
        check_pinned(root, what, listing.official_hash())


def pin_of(entry: Entry, split: str, partition: int | None) -> str | None:
    """Name the list of a split that has no official data hash; None where a hash or its files identify it."""
    published_hash = entry.file_md5 or (split in entry.data_hash and partition in (None, 1))
    if published_hash or not entry.archives:
        return None
    return " ".join(str(part) for part in (entry.name, split, partition) if part is not None)


def _check_counts(entry: Entry, split: str, listing: Listing) -> None:
    classes, images = len(listing.class_names), listing.expected
    if (classes, images) != (entry.num_classes, entry.size(split)):
        raise DataError(
            f"{entry.name} {split} is not the official split (expected {entry.size(split)} images of "
            f"{entry.num_classes} classes, found {images} of {classes})",
            f"rt-data fetch {entry.name}",
            RUN_ANYWAY,
        )


def class_hash(class_names: Iterable[str]) -> str:
    """Hash the names of classes in the order of their labels."""
    return hashlib.sha256("".join(f"{name}\n" for name in class_names).encode()).hexdigest()


def _check_classes(entry: Entry, root: Path, listing: Listing) -> None:
    if entry.class_hash and class_hash(listing.class_names) != entry.class_hash:
        shown = ", ".join(listing.class_names[:4])
        raise DataError(
            f"the classes of {entry.name} below {root / entry.folder} are not the official ones, or in "
            f"another order (found {shown}, ...): labels would be others than every checkpoint's",
            f"name them as the set does: {entry.layout}",
            RUN_ANYWAY,
        )


def _check_list(entry: Entry, split: str, partition: int | None, listing: Listing) -> None:
    official = entry.data_hash.get(split) if partition in (None, 1) else None
    if official is not None and (actual := listing.official_hash()) != official:
        raise DataError(
            f"{entry.name} {split} lists other images or labels than the official split "
            f"(expected data hash {official[:12]}, found {actual[:12]})",
            f"unpack its lists again: rt-data fetch {entry.name}",
            RUN_ANYWAY,
        )


def _check_images(entry: Entry, root: Path, split: str, listing: Listing) -> None:
    allowed = LOSSY_SHARE * listing.expected if entry.lossy else 0
    if len(listing.absent) > allowed:
        minimum = f", at least {1 - LOSSY_SHARE:.0%} must be on disk" if entry.lossy else ""
        raise DataError(
            f"{len(listing.absent)} of {listing.expected} listed {split} images of {entry.name} are missing"
            f"{minimum}; the first is {root / min(path for _, path in listing.absent)}",
            f"rt-data fetch {entry.name}",
            RUN_ANYWAY,
        )
