"""One module a set (or a family): `list_split(root, split, partition)` -> Listing, in torchvision's layout.

The lists are read here rather than through torchvision's classes, which import torch, hide their lists in
private attributes, check no listed file, and differ in splits and class ids from the official ones where
their layout is the same; the tests hold both against each other.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.core.errors import DataError

if TYPE_CHECKING:
    from robust_transfer.data.listing import Listing


def list_split(name: str, root: Path, split: str, partition: int | None) -> Listing:
    """List split `train` or `test` of a set of the catalogue; `root` is the data root.

    Raises
    ------
    DataError : a list or an image is missing, or a list cannot be understood
    """
    assert split in ("train", "test")
    source = import_module(f"{__name__}.{name}")
    try:
        return source.list_split(root, split, partition)
    except (KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
        raise _damaged(name, root, error) from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(name, root, error) from error


def _damaged(name: str, root: Path, error: Exception) -> DataError:
    return DataError(
        f"the lists of {name} under {root} are cut short or damaged ({type(error).__name__}: {error})",
        f"unpack its archive again: rt-data fetch {name}",
    )
