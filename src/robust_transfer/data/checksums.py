"""MD5 of files, against the catalogue."""

from __future__ import annotations

import hashlib
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.entries import Entry


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
        actual = md5_of(path)
        if actual != expected:
            raise DataError(
                f"{path} is not the published file (expected md5 {expected}, found {actual})",
                f"rt-data fetch {entry.name}",
                "to run with what is there, and have it marked: data.verify=false",
            )
