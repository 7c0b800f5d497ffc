"""What a source says of one split before any image is opened: classes, relative paths, labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from robust_transfer.core.errors import DataError
from robust_transfer.data.images import FileImages

ReadImage = Callable[[int], Image.Image]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class Listing(NamedTuple):
    """One split, in order of (label, path): the order is the same on every file system.

    class_names : names to show, position = label; folder names may differ from them
    paths : one per image, relative to the data root (for arrays: file and row)
    labels : Python ints
    read : row of this listing -> RGB image
    expected : images that the split lists, where fewer may be on disk (Birdsnap), else None
    """

    class_names: list[str]
    paths: list[str]
    labels: list[int]
    read: ReadImage
    expected: int | None = None

    def below(self, root: Path, folder: str) -> Listing:
        """Return the listing with its paths, relative to root/folder so far, relative to root."""
        if not folder:
            return self
        paths = [f"{folder}/{path}" for path in self.paths]
        read = FileImages(root, paths) if isinstance(self.read, FileImages) else self.read
        return self._replace(paths=paths, read=read)


def file_listing(
    root: Path, class_names: Iterable[str], items: Iterable[tuple[str, int]], *, expected: int | None = None
) -> Listing:
    """List image files given as (path relative to root, label), sorted by label, then path."""
    ordered = sorted(items, key=lambda item: (item[1], item[0]))
    paths = [path for path, _ in ordered]
    labels = [label for _, label in ordered]
    return Listing(list(class_names), paths, labels, FileImages(root, paths), expected)


def read_lines(path: Path, what: str) -> list[str]:
    """Return the non-empty lines of a text file that ships with a data set."""
    if not path.is_file():
        raise DataError(f"{path}: {what} is missing")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def present_files(home: Path, folder: str) -> set[str]:
    """Return every file below home/folder as a path relative to home; one walk instead of a stat per file."""
    present: set[str] = set()
    for directory, _, names in os.walk(home / folder):
        prefix = os.path.relpath(directory, home).replace(os.sep, "/")
        present.update(name if prefix == "." else f"{prefix}/{name}" for name in names)
    return present


def listed_files(
    home: Path, folder: str, class_names: Iterable[str], items: list[tuple[str, int]]
) -> Listing:
    """List files by (path relative to home, label); a path that is not below home/folder is a DataError."""
    if not (home / folder).is_dir():
        raise DataError(f"{home / folder}: the folder of images is missing")
    present = present_files(home, folder)
    absent = sorted(path for path, _ in items if path not in present)
    if absent:
        raise DataError(
            f"{len(absent)} of {len(items)} listed images are missing, the first is {home / absent[0]}",
            "an archive was unpacked in part: unpack it again",
        )
    return file_listing(home, class_names, items)


def class_folders(folder: Path, what: str) -> list[str]:
    """Return the names of the sub-folders of `folder`, sorted by code point; stray files are left out."""
    if not folder.is_dir():
        raise DataError(f"{folder}: {what} is missing")
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")


def images_in(folder: Path) -> list[str]:
    """Return the names of the image files that lie directly in `folder`, sorted by code point."""
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.name[0] != "." and entry.is_file()
    )
