"""One file per family of layouts, one function per set: `reader(home, split)` -> Listing.

Layouts are torchvision's. The catalogue names the reader of each set. `home` is the set's folder, and paths
are relative to it; with partitions, the partition is third. The lists are read here rather than through
torchvision's classes, which import torch, hide their lists in private attributes, check no listed file, and
differ in splits and class ids from the official ones where their layout is the same; the tests hold both
against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.core.errors import DataError
from robust_transfer.data.entries import Entry, load

if TYPE_CHECKING:
    from robust_transfer.data.listing import Listing


def list_split(entry: Entry, root: Path, split: str, partition: int | None = None) -> Listing:
    """List split `train` or `test` of a set; `root` is the data root, and paths are relative to it.

    Raises
    ------
    DataError : a list or an image is missing, or a list cannot be understood
    """
    assert split in ("train", "test")
    try:
        reader: Callable[..., Listing] = load(entry.reader)
        listing = reader(root / entry.folder, split, *([partition] if entry.partitions else []))
        return listing.below(root, entry.folder)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            if error.hints:
                raise
            get = [f"rt-data fetch {entry.name}"] if entry.archives else []
            raise DataError(error.what, f"layout under {root}: {entry.layout}", *get) from error
        raise DataError(
            f"the lists of {entry.name} under {root} are cut short or damaged "
            f"({type(error).__name__}: {error})",
            f"unpack its archive again: rt-data fetch {entry.name}",
        ) from error
