"""Read the text lists that ship with data sets."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.core.errors import DataError


def read_lines(path: Path, what: str) -> list[str]:
    """Return the non-empty lines of a text file that ships with a data set."""
    if not path.is_file():
        raise DataError(f"{path}: {what} is missing")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
