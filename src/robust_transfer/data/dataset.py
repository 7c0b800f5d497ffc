"""Open a split of a data set: map-style, (PIL RGB image, int label), in one order on every machine."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.core.errors import ConfigError
from robust_transfer.data import catalogue, splits
from robust_transfer.data.entries import load
from robust_transfer.data.selection import Selection
from robust_transfer.data.texts import Texts
from robust_transfer.data.whole import class_hash

if TYPE_CHECKING:
    from PIL import Image

    from robust_transfer.data.listing import Listing


class ImageDataset:
    """One split, or a part of it.

    Attributes
    ----------
    name, split : as requested
    class_names : position = label
    paths, labels : one per image, read without decoding; paths are relative to the data root
    on_error : "stop" or "skip": what the loaders do with an image that cannot be read
    expected : len(self), and the images of the official list that are not on disk
    """

    def __init__(
        self, name: str, split: str, listing: Listing, rows: Sequence[int], *, on_error: str
    ) -> None:
        self.name, self.split, self.on_error = name, split, on_error
        self.class_names = listing.class_names
        whole = len(rows) == len(listing.paths)
        self.paths = listing.paths if whole else Texts(listing.paths[row] for row in rows)
        self.labels = [listing.labels[row] for row in rows]
        self.expected = len(rows) + len(listing.absent)
        self.reader: Callable[[int], Image.Image] = listing.read
        self._rows: Sequence[int] = range(len(rows)) if whole else array("q", rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        return self.read(position), self.labels[position]

    def read(self, position: int) -> Image.Image:
        """Return the image at one position, RGB."""
        return self.reader(self._rows[position])

    def reading(self, reader: Callable[[int], Image.Image]) -> ImageDataset:
        """Return this data set with its images read by another reader: position -> RGB image."""
        other = copy.copy(self)
        other.reader, other._rows = reader, range(len(self))
        return other

    def fingerprint(self) -> str:
        """Hash the list of (path, label): a stage stores it."""
        from robust_transfer.data.listing import data_hash  # it imports Pillow, which a plan does without

        return data_hash(zip(self.paths, self.labels, strict=True))


def open_dataset(
    name: str,
    root: str | Path,
    split: str,
    *,
    verify: bool = True,
    on_error: str = "stop",
    **options: Any,
) -> ImageDataset:
    """Open one split. Everything is checked and listed here; images are decoded when asked for.

    Parameters
    ----------
    name : a name of the catalogue
    root : the folder with all data sets in torchvision's layout; for `imagefolder` the folder itself
    split : train, validation (the part of train held out by `validation_fraction`) or test
    verify : counts and checksums must be the catalogue's; False takes what is on disk
    on_error : "stop" raises at an image that cannot be read, "skip" leaves it out and lists it
    options : the fields of `Selection`: partition, shots, train_fraction, split_seed, validation_fraction,
        generated

    Raises
    ------
    ConfigError : the request makes no sense; DataError : the data are absent, incomplete or not official
    """
    return open_selection(name, root, split, Selection(**options), verify=verify, on_error=on_error)


def open_selection(
    name: str, root: str | Path, split: str, selection: Selection, *, verify: bool, on_error: str
) -> ImageDataset:
    """Open one split of the part that `selection` describes; see `open_dataset`."""
    entry = catalogue.get(name)
    selection.check_split(split)
    if on_error not in ("stop", "skip"):
        raise ConfigError(f"on_error='{on_error}' (expected stop or skip)")
    if selection.generated is not None:
        from robust_transfer.data.generated import generated_listing

        listing = generated_listing(name, split, entry.num_classes or 10, selection.generated)
        return ImageDataset(name, split, listing, list(range(selection.generated)), on_error=on_error)

    official = "test" if split == "test" else "train"
    listing = catalogue.official_listing(entry, root, official, selection, verify=verify)
    if entry.words and class_hash(listing.class_names) == entry.class_hash:
        listing = listing._replace(class_names=list(load(entry.words)()))
    return ImageDataset(name, split, listing, _rows(listing, split, selection), on_error=on_error)


def _rows(listing: Listing, split: str, selection: Selection) -> list[int]:
    """Return the rows of an official listing that belong to the split."""
    if split == "test":
        return list(range(len(listing.paths)))
    labels, seed = listing.labels, selection.split_seed
    rows, held_out = splits.hold_out(labels, selection.validation_fraction, seed=seed)
    if split == "validation":
        return held_out
    if selection.shots is not None:
        return splits.draw_shots(labels, rows, selection.shots, listing.class_names, seed=seed)
    if selection.train_fraction is not None:
        return splits.draw_fraction(labels, rows, selection.train_fraction, seed=seed)
    return rows
