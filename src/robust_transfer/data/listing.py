"""The listing of one split, before any image is opened: classes, relative paths, labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from robust_transfer.core.errors import DataError
from robust_transfer.data.images import FileImages
from robust_transfer.data.texts import Texts
from robust_transfer.data.trees import files_below, is_hidden

ReadImage = Callable[[int], Image.Image]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class Listing(NamedTuple):
    """One split, in order of (label, path): the order is the same on every file system.

    class_names : names to show, position = label; folder names may differ from them
    paths : one per image, relative to the data root (for arrays: file and row)
    labels : Python ints
    read : row of this listing -> RGB image
    absent : (label, path) of the images that the official list names and that are not on disk
    """

    class_names: list[str]
    paths: Sequence[str]
    labels: list[int]
    read: ReadImage
    absent: tuple[tuple[int, str], ...] = ()

    @property
    def expected(self) -> int:
        """How many images the split lists, those that are absent included."""
        return len(self.paths) + len(self.absent)

    def below(self, root: Path, folder: str) -> Listing:
        """Return the listing with its paths, relative to root/folder so far, relative to root."""
        if not folder:
            return self
        paths = Texts(f"{folder}/{path}" for path in self.paths)
        absent = tuple((label, f"{folder}/{path}") for label, path in self.absent)
        read = FileImages(root, paths) if isinstance(self.read, FileImages) else self.read
        return self._replace(paths=paths, read=read, absent=absent)

    def with_classes(self, names: list[str]) -> Listing:
        """Return the listing of image files with `names` as its classes, which hold all of its own.

        Raises
        ------
        DataError : a class of this listing is not among the names
        """
        label_of = {name: label for label, name in enumerate(names)}
        if extra := [name for name in self.class_names if name not in label_of]:
            raise DataError(
                f"class folders {', '.join(extra[:5])} are not in the list of {len(names)} classes"
            )
        labels = [label_of[self.class_names[label]] for label in self.labels]
        assert isinstance(self.read, FileImages)
        return file_listing(self.read.root, names, zip(self.paths, labels, strict=True))

    def official_hash(self) -> str:
        """Hash the official list, images that are absent included."""
        items = sorted([*zip(self.labels, self.paths, strict=True), *self.absent])
        return data_hash((path, label) for label, path in items)


def data_hash(items: Iterable[tuple[str, int]]) -> str:
    """Hash a list of (path, label): equal for two stages that saw the same data."""
    digest = hashlib.sha256()
    for path, label in items:
        digest.update(f"{path}\t{label}\n".encode())
    return digest.hexdigest()


def file_listing(
    home: Path,
    class_names: Iterable[str],
    items: Iterable[tuple[str, int]],
    absent: Iterable[tuple[str, int]] = (),
) -> Listing:
    """List image files given as (path relative to home, label), sorted by label, then path."""
    ordered = sorted(items, key=lambda item: (item[1], item[0]))
    paths = Texts(path for path, _ in ordered)
    labels = [label for _, label in ordered]
    missing = tuple((label, path) for path, label in absent)
    return Listing(list(class_names), paths, labels, FileImages(home, paths), missing)


def listed_files(
    home: Path, folder: str, class_names: Iterable[str], items: list[tuple[str, int]]
) -> Listing:
    """List files by (path relative to home, label); those that are not below home/folder are `absent`."""
    present = set(files_below(home, folder)) if (home / folder).is_dir() else set()
    on_disk = [item for item in items if item[0] in present]
    return file_listing(home, class_names, on_disk, [item for item in items if item[0] not in present])


def class_folders(folder: Path, what: str) -> list[str]:
    """Return the names of the sub-folders of `folder`, sorted by code point; stray files are left out."""
    if not folder.is_dir():
        raise DataError(f"{folder}: {what} is missing")
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_hidden(entry.name))


def images_in(folder: Path) -> list[str]:
    """Return the names of the image files that lie directly in `folder`, sorted by code point."""
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.name[0] != "." and entry.is_file()
    )
