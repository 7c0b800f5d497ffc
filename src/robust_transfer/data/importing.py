"""Import a set from another layout into the official one: class folders, doubled folders, parquet.

Tried in turn: the set's own folder somewhere inside (copies with a folder too many), for CIFAR
class folders of images, else files with the names in the official lists.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from robust_transfer.core.errors import DataError
from robust_transfer.core.logging import logger
from robust_transfer.data import cifar_batches, tables
from robust_transfer.data.checksums import md5_of
from robust_transfer.data.entries import Entry, get
from robust_transfer.data.fetch import put_in_place
from robust_transfer.data.images import open_rgb
from robust_transfer.data.listing import IMAGE_SUFFIXES
from robust_transfer.data.sources import list_split
from robust_transfer.data.trees import files_below, is_hidden

DEPTH = 3  # folders around the set's own
SPLITS = {
    "train": {"train", "training", "trainval"},
    "test": {"test", "testing", "val", "valid", "validation"},
}


class Item(NamedTuple):
    """One image of the other layout: the parts of its name, and its file or its bytes."""

    parts: tuple[str, ...]
    file: Path | None = None
    content: bytes = b""

    @property
    def split(self) -> str | None:
        """The split that its folders name."""
        folders = {part.lower() for part in self.parts[:-1]}
        return next((split for split, names in SPLITS.items() if names & folders), None)

    def open(self) -> Image.Image:
        """Decode the image."""
        return open_rgb(self.file or io.BytesIO(self.content))

    def put(self, path: Path, *, copy: bool) -> None:
        """Lay the image at `path`, whole or not at all: as a link, or as a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        temporary.unlink(missing_ok=True)
        if self.file is None:
            temporary.write_bytes(self.content)
        elif copy:
            shutil.copyfile(self.file, temporary)
        else:
            temporary.symlink_to(self.file)
        os.replace(temporary, path)


def import_set(name: str, root: str | Path, origin: str | Path, *, copy: bool = False) -> None:
    """Lay out below `root` what `origin` holds of a set; existing files stay.

    Parameters
    ----------
    origin : a folder, one of the set's archives, or a parquet or arrow file (or a folder of those)
    copy : copy the files rather than link to them

    Raises
    ------
    DataError : `origin` holds nothing of the set; the message says what was tried
    """
    entry, root, origin = get(name), Path(root), Path(origin).resolve()
    if not entry.archives:
        raise DataError(f"{name} has no files of its own to import ({entry.layout})")
    if not origin.exists():
        raise DataError(f"{origin} does not exist")
    if origin.is_file() and origin.suffix not in tables.SUFFIXES:
        _import_archive(entry, root, origin)
    elif home := _home_inside(entry, origin):
        _import_home(entry, root / entry.folder, home, copy=copy)
    elif name in ("cifar10", "cifar100"):
        _import_cifar(entry, root / entry.folder, _items(origin))
    else:
        _import_by_name(entry, root, list(_items(origin)), copy=copy)


def _import_archive(entry: Entry, root: Path, file: Path) -> None:
    actual = md5_of(file)
    for archive in entry.archives:
        if archive.md5 == actual:
            put_in_place(file, root / archive.into, archive.inner)
            logger.info(f"{entry.name}: {file.name} is unpacked below {root / archive.into}")
            return
    raise DataError(
        f"{file} is not an archive of {entry.name} (md5 {actual})", "unpack it, and import its folder"
    )


# ---------------------------------------------------------------- the set's own folder


def _home_inside(entry: Entry, origin: Path) -> Path | None:
    """Return the folder that the set's reader takes for its own: `origin`, or one a few levels inside."""
    folders = [origin] if origin.is_dir() else []
    for _ in range(DEPTH + 1):
        for folder in folders:
            if _is_home(entry, folder):
                return folder
        folders = [
            inner
            for folder in folders
            for inner in sorted(folder.iterdir())
            if inner.is_dir() and not is_hidden(inner.name)
        ]
    return None


def _is_home(entry: Entry, folder: Path) -> bool:
    local = dataclasses.replace(entry, folder=folder.name)
    try:
        return all(list_split(local, folder.parent, split, 1).paths for split in ("train", "test"))
    except DataError:
        return False


def _import_home(entry: Entry, target: Path, home: Path, *, copy: bool) -> None:
    if target.is_symlink() or (target.is_dir() and any(target.iterdir())):
        raise DataError(f"{target} is there already", "move it away, or import into another --root")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target.rmdir()
    if copy:
        shutil.copytree(home, target)
    else:
        target.symlink_to(home)
    logger.info(f"{entry.name}: {home} has the set's layout; it is now at {target}")


# ---------------------------------------------------------------- image by image


def _items(origin: Path) -> Iterator[Item]:
    files = [origin] if origin.is_file() else sorted(origin.rglob("*"))
    table_files = [file for file in files if file.suffix in tables.SUFFIXES]
    if table_files:
        yield from (Item(parts, None, content) for parts, content in tables.read_images(table_files))
        return
    for path in sorted(files_below(origin, "")):
        name = path.rpartition("/")[2]
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
            yield Item(tuple(path.split("/")), origin / path)


def _import_by_name(entry: Entry, root: Path, items: list[Item], *, copy: bool) -> None:
    """Put every listed file that is absent where an item of its name is found."""
    by_name = defaultdict(list)
    for item in items:
        by_name[item.parts[-1].lower()].append(item)
    used, absent = set(), 0
    for split in ("train", "test"):
        listing = list_split(entry, root, split, 1)
        for label, path in listing.absent:
            absent += 1
            candidates = by_name[PurePosixPath(path).name.lower()]
            match = best_match(path, split, listing.class_names[label], candidates)
            if match is not None:
                match.put(root / path, copy=copy)
                used.add(match.parts)
    if absent and not used:
        raise DataError(
            f"none of the {len(items):,} images has the name of one of the {absent:,} absent listed images "
            f"of {entry.name}"
        )
    logger.info(f"{entry.name}: {len(used):,} of {absent:,} listed images that were absent are laid out")
    unmatched = ["/".join(item.parts) for item in items if item.parts not in used]
    if absent and unmatched:
        logger.info(
            f"{entry.name}: {len(unmatched):,} other images match nothing in its lists: {unmatched[0]} ..."
        )


def best_match(path: str, split: str, class_name: str, items: Iterable[Item]) -> Item | None:
    """Return the item that matches a listed path best, None in a tie.

    It is of the path's split or of none, then in a folder of the class's name, then the one with most folders
    in common.
    """
    listed, folder = PurePosixPath(path.lower()).parts, _letters(class_name)

    def score(item: Item) -> tuple[bool, bool, int]:
        of_class = len(item.parts) > 1 and _letters(item.parts[-2]) == folder
        pairs = zip(reversed(listed), reversed(item.parts), strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1].lower(), pairs))
        return item.split in (split, None), of_class, common

    ranked = sorted(items, key=score, reverse=True)
    if not ranked or (len(ranked) > 1 and score(ranked[0]) == score(ranked[1])):
        return None
    return ranked[0]


def _letters(name: str) -> str:
    """Return a class's name without what differs between spellings: apple_pie, Apple pie."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _import_cifar(entry: Entry, home: Path, items: Iterable[Item]) -> None:
    """Write images of class folders as CIFAR's batches, whose bytes are then not the published ones."""
    if home.is_dir() and any(home.iterdir()):
        raise DataError(f"{home} is there already", "move it away, or import into another --root")
    images: dict[str, list[tuple[str, str, Image.Image]]] = {"train": [], "test": []}
    for item in items:
        if item.split and len(item.parts) > 2:
            images[item.split].append((item.parts[-2], item.parts[-1], item.open()))
    cifar_batches.write_set(entry.name, home, images, entry.num_classes or 0)
    counts = " + ".join(f"{len(of_split):,}" for of_split in images.values())
    logger.info(
        f"{entry.name}: {counts} images are written as batches. Their bytes are not the published ones: "
        "runs need data.verify=false, which marks them"
    )
