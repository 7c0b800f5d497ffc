"""The files below a folder; a large one is listed once a machine, for its folders' times tell of changes."""

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

MIN_FILES = 10_000  # fewer are listed anew
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
    for one in folders_below(home / folder):
        prefix = "/".join(part for part in (folder, one.path) if part)
        yield from (f"{prefix}/{name}" if prefix else name for name in one.names)


def folders_below(top: Path) -> list[Folder]:
    """Return a folder and those inside it; where nothing came or went since, as they were listed before."""
    real = os.path.realpath(top)
    path = cache_folder() / "folders" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:16]}.json"
    known = [Folder(*one) for one in read_json(path) or []]
    if known and all(_mtime(top / one.path) == one.mtime_ns for one in known):
        return known
    started = time.time_ns()
    listed = list(_walk(top, "", ()))
    settled = max(one.mtime_ns for one in listed) < started - SETTLED_NS
    if settled and sum(len(one.names) for one in listed) >= MIN_FILES:
        with suppress(OSError):  # it is listed anew next time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(listed))
    return listed


def _walk(top: Path, path: str, above: tuple[str, ...]) -> Iterator[Folder]:
    real = os.path.realpath(top / path)
    if real in above:  # a link that leads back up
        return
    mtime_ns = _mtime(top / path)  # before it is read: what comes while it is read makes it outdated
    with os.scandir(top / path) as entries:
        inside = list(entries)
    yield Folder(path, mtime_ns or 0, [entry.name for entry in inside if not entry.is_dir()])
    for entry in inside:
        if entry.is_dir() and not is_hidden(entry.name):
            yield from _walk(top, f"{path}/{entry.name}" if path else entry.name, (*above, real))


def _mtime(folder: Path) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def is_hidden(name: str) -> bool:
    """Tell the folders that programs leave behind: hidden ones, and what a Mac puts into an archive."""
    return name.startswith(".") or name == "__MACOSX"
