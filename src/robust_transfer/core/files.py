"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import ConfigError

# What the system says of a disk that cannot be written to: full, over quota, read-only, over a size limit.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; flush it to disk and rename it into place on success.

    A reader sees the old file or the new one, never a part. On an exception the old file stays.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, final)
        _sync_directory(final.parent)
    except Exception as error:
        if not isinstance(error, OSError) and (cause := _cause_in_the_system(error, temporary)):
            raise cause from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _cause_in_the_system(error: Exception, written: Path) -> OSError | None:
    """Find the system's error behind one of torch (which says nothing of it) or safetensors (a number)."""
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])), str(written))
    if written.exists():
        try:
            with open(written, "ab") as stream:
                stream.write(bytes(2**16))
        except OSError as reason:
            return reason
    return None


@contextmanager
def disk_errors(root: Path | str) -> Iterator[None]:
    """Turn a full or read-only disk into a ConfigError: a user can put that right."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise ConfigError(
            f"store={root} is full or read-only ({os.strerror(error.errno)})",
            "make room there: the same command resumes",
        ) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any | None:
    """Read JSON, or None where the file is missing or cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def cache_folder() -> Path:
    """Return the folder for what can be made again: $RT_CACHE, else the user's, as the system has it."""
    if given := os.environ.get("RT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robust-transfer"


def sha256(path: Path | str) -> str | None:
    """Return the sha256 of a file's content in hexadecimal; None where there is no file."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
