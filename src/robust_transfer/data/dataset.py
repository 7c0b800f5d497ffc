"""Open a split of a data set: map-style, (PIL RGB image, int label), in one order on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from robust_transfer.core.errors import ConfigError
from robust_transfer.data import catalogue, splits
from robust_transfer.data.checksums import check_files
from robust_transfer.data.listing import Listing


class ImageDataset:
    """One split, or a part of it.

    Attributes
    ----------
    name, split : what was asked for
    class_names : position = label
    paths, labels : one an image, known without decoding; paths are relative to the data root
    on_error : "stop" or "skip": what the loaders do with an image that cannot be read
    expected : images the official split lists where some may be lost (Birdsnap), else len(self)
    """

    def __init__(self, name: str, split: str, listing: Listing, rows: list[int], *, on_error: str) -> None:
        self.name, self.split, self.on_error = name, split, on_error
        self.class_names = listing.class_names
        self.paths = [listing.paths[row] for row in rows]
        self.labels = [listing.labels[row] for row in rows]
        self.expected = len(rows) if listing.expected is None else listing.expected
        self._read, self._rows = listing.read, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        return self._read(self._rows[position]), self.labels[position]

    def fingerprint(self) -> str:
        """Hash the list of (path, label): what a stage stores to know the data it was computed from."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{path}\t{label}\n".encode())
        return digest.hexdigest()


def open_dataset(
    name: str,
    root: str | Path,
    split: str,
    *,
    verify: bool = True,
    partition: int | None = None,
    shots: int | None = None,
    train_fraction: float | None = None,
    split_seed: int = 0,
    validation_fraction: float = 0.0,
    on_error: str = "stop",
    generated: int | None = None,
) -> ImageDataset:
    """Open one split. Everything is checked and listed here; images are decoded when asked for.

    Parameters
    ----------
    name : a name of the catalogue
    root : the folder with all data sets in torchvision's layout; for `imagefolder` the folder itself
    split : train, validation (the part of train held out by `validation_fraction`) or test
    verify : counts and checksums must be the catalogue's; False takes what is there
    partition : official partition of sun397 and dtd, 1..10 (default 1)
    shots, train_fraction : images a class, or share of each class, of what is left for training
    split_seed : keys the draw of validation, shots and fraction; validation does not depend on the other two
    on_error : "stop" raises at an image that cannot be read, "skip" leaves it out and lists it
    generated : images of keyed noise in place of the set, this many a split; no shots are drawn from them

    Raises
    ------
    ConfigError : the request makes no sense; DataError : the data are not what they should be
    """
    entry = catalogue.get(name)
    _check_request(split, shots, train_fraction, validation_fraction, on_error)
    if generated is not None:
        from robust_transfer.data.sources.generated import generated_listing

        listing = generated_listing(name, split, entry.num_classes or 10, generated)
        return ImageDataset(name, split, listing, list(range(generated)), on_error=on_error)

    official = "test" if split == "test" else "train"
    if verify:
        check_files(Path(root), entry)
    listing = catalogue.official_listing(name, root, official, partition=partition, verify=verify)
    rows = list(range(len(listing.paths)))
    if split != "test":
        rows, held_out = splits.hold_out(listing.labels, validation_fraction, seed=split_seed)
        if split == "validation":
            rows = held_out
        elif shots is not None:
            rows = splits.draw_shots(listing.labels, rows, shots, listing.class_names, seed=split_seed)
        elif train_fraction is not None:
            rows = splits.draw_fraction(listing.labels, rows, train_fraction, seed=split_seed)
    return ImageDataset(name, split, listing, rows, on_error=on_error)


def _check_request(
    split: str, shots: int | None, train_fraction: float | None, validation_fraction: float, on_error: str
) -> None:
    if split not in catalogue.SPLITS:
        raise ConfigError(f"split '{split}' (expected one of {', '.join(catalogue.SPLITS)})")
    if on_error not in ("stop", "skip"):
        raise ConfigError(f"on_error='{on_error}' (expected stop or skip)")
    if shots is not None and train_fraction is not None:
        raise ConfigError("shots and train_fraction are both given (expected at most one)")
    if split == "validation" and validation_fraction == 0:
        raise ConfigError(
            "the validation split is empty (validation_fraction is 0)", "validation_fraction=0.1"
        )
