"""Lists without an official data hash: that of the first whole copy is stored, and holds for later ones."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import DataError
from robust_transfer.core.files import read_json, write_json
from robust_transfer.data.checksums import RUN_ANYWAY

FILE = ".lists.json"  # in the data root: it moves with the images


def check_pinned(root: Path, what: str, data_hash: str) -> None:
    """Compare a whole list with the one that was first read below `root`, or store it as the first.

    Parameters
    ----------
    what : set, split and partition, such as "sun397 train 1"

    Raises
    ------
    DataError : it is another list
    """
    stored = _read(root)
    if what not in stored:
        first = {"data_hash": data_hash, "first_read": time.strftime("%Y-%m-%d")}
        with suppress(OSError):  # a read-only root keeps none
            write_json(root / FILE, {**stored, what: first})
    elif stored[what]["data_hash"] != data_hash:
        raise DataError(
            f"{what} lists other images or labels than on {stored[what]['first_read']}, when a whole copy "
            f"was first read here (expected hash {stored[what]['data_hash'][:12]}, found {data_hash[:12]})",
            f"if that copy was the wrong one, delete '{what}' from {root / FILE}",
            RUN_ANYWAY,
        )


def first_read(root: Path, what: str) -> str | None:
    """Return the day on which a list was first read whole below `root`."""
    day: str | None = _read(root).get(what, {}).get("first_read")
    return day


def _read(root: Path) -> dict[str, Any]:
    return read_json(root / FILE) or {}
