"""The files below a folder; a large one is listed once per machine, as its folders' times show changes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from robust_transfer.core.files import cache_folder, read_json, write_text

MIN_FILES = 10_000  # fewer are listed each time
SETTLED_NS = 2 * 10**9  # a change this soon after another may leave a folder's time as it was


class Folder(NamedTuple):
    """One folder: its path relative to the top (empty for the top), its time and the names of its files."""

    path: str
    mtime_ns: int
    names: list[str]


def files_below(home: Path, folder: str) -> Iterator[str]:
    """Yield every file below home/folder as a path relative to home.

    Hidden folders are left out, links to folders are followed.
    """
    for inner in folders_below(home / folder):
        prefix = "/".join(part for part in (folder, inner.path) if part)
        yield from (f"{prefix}/{name}" if prefix else name for name in inner.names)


def folders_below(top: Path) -> list[Folder]:
    """Return a folder and those inside it; from the cache where no file was added or removed since."""
    real = os.path.realpath(top)
    path = cache_folder() / "folders" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:16]}.json"
    cached = [Folder(*part) for part in read_json(path) or []]
    if cached and all(_mtime(top / part.path) == part.mtime_ns for part in cached):
        return cached
    started = time.time_ns()
    listed = list(_walk(top, "", ()))
    settled = max(part.mtime_ns for part in listed) < started - SETTLED_NS
    if settled and sum(len(part.names) for part in listed) >= MIN_FILES:
        with suppress(OSError):  # it is listed anew next time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(listed))
    return listed


def _walk(top: Path, path: str, parents: tuple[str, ...]) -> Iterator[Folder]:
    real = os.path.realpath(top / path)
    if real in parents:  # a link that leads back up
        return
    mtime_ns = _mtime(top / path)  # before it is read: a file added meanwhile makes it outdated
    with os.scandir(top / path) as entries:
        inside = list(entries)
    yield Folder(path, mtime_ns or 0, [entry.name for entry in inside if not entry.is_dir()])
    for entry in inside:
        if entry.is_dir() and not is_hidden(entry.name):
            yield from _walk(top, f"{path}/{entry.name}" if path else entry.name, (*parents, real))


def _mtime(folder: Path) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def is_hidden(name: str) -> bool:
    """Tell whether a folder is hidden, or macOS metadata in an archive."""
    return name.startswith(".") or name == "__MACOSX"
