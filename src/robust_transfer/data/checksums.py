"""MD5 of files, against the catalogue."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.entries import Entry


@cache
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    """Return the MD5 of a file; computed once for each content that its size and time tell apart."""
    return md5_of(path)


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
        stat = path.stat()
        actual = _md5(path, stat.st_size, stat.st_mtime_ns)
        if actual != expected:
            raise DataError(
                f"{path} is not the published file (expected md5 {expected}, found {actual})",
                f"rt-data fetch {entry.name}",
                "rt-train ... data.verify=false runs with what is there, and marks it",
            )
