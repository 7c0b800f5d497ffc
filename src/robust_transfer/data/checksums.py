"""MD5 of files, against the catalogue."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.core.files import cache_folder, read_json, write_json
from robust_transfer.data.entries import Entry
from robust_transfer.data.trees import SETTLED_NS

RUN_ANYWAY = "rt-train ... data.verify=false runs with what is there, and marks it"


def known_md5(path: Path) -> str:
    """Return the MD5 of a file, computed once per machine for each size and time of it."""
    stat, name = path.stat(), str(path.resolve())
    now = [stat.st_size, stat.st_mtime_ns]
    store = cache_folder() / "md5.json"
    stored = read_json(store) or {}
    if name in stored and stored[name][:2] == now:
        return str(stored[name][2])
    actual = md5_of(path)
    if stat.st_mtime_ns < time.time_ns() - SETTLED_NS:
        with suppress(OSError):  # it is computed anew next time
            store.parent.mkdir(parents=True, exist_ok=True)
            write_json(store, {**(read_json(store) or {}), name: [*now, actual]})
    return actual


def md5_of(path: Path) -> str:
    """Return the MD5 of a file as 32 hex digits (a check against damage, not against malice)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_files(root: Path, entry: Entry) -> None:
    """Refuse a set whose small extracted files are not the published ones."""
    for relative, expected in entry.file_md5.items():
        path = root / relative
        if not path.is_file():
            continue  # the reader says what is missing
        actual = known_md5(path)
        if actual != expected:
            raise DataError(
                f"{path} is not the published file (expected md5 {expected}, found {actual})",
                f"rt-data fetch {entry.name}",
                RUN_ANYWAY,
            )
