"""Download one file: resumed where it was cut off, checked by length and MD5 before it gets its name."""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from tqdm import tqdm

from robust_transfer.core.errors import DataError
from robust_transfer.data.checksums import md5_of
from robust_transfer.data.images import file_problem

TIMEOUT_SECONDS = 30
BLOCK = 1 << 20


def download(url: str, path: Path, md5: str) -> None:
    """Download `url` to `path`; a partial file stays beside it as .NAME.part, and the next call resumes it.

    Raises
    ------
    DataError : no connection, an error from the server, a connection cut off, a full disk, or a file that is
        not the published one; the message says which
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    elsewhere = f"download it elsewhere and put it at {path}, then run the same command"
    try:
        total = _receive(url, part, path.name)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{path.name}: {url} answers {error.code} ({error.reason})", elsewhere) from error
    except (HTTPException, OSError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_is_full(path, str(error)) from error
        reason = getattr(error, "reason", error)
        raise DataError(f"{path.name}: no connection to {url} ({reason})", elsewhere) from error
    received = part.stat().st_size
    if total is not None and received < total:
        raise DataError(
            f"{path.name}: the connection was cut off after {received:,} of {total:,} bytes",
            "run the same command again: it resumes there",
        )
    if (actual := md5_of(part)) != md5:
        kind = file_problem(part)
        part.unlink()
        raise DataError(
            f"{path.name}: {url} did not send the published file (expected md5 {md5}, found {actual}"
            f"{f': {kind}' if kind else ''})",
            elsewhere,
        )
    os.replace(part, path)


def _receive(url: str, part: Path, name: str) -> int | None:
    """Append the missing part of `part`; return the file's total length where the server sends it."""
    received = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "robust-transfer"})
    if received:
        request.add_header("Range", f"bytes={received}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # range not satisfiable: nothing is left to send
            raise
        error.close()
        return received
    with response:
        if received and response.status != 206:  # the server sends all of it again
            received = 0
        length = response.headers.get("Content-Length")
        total = received + int(length) if length else None
        _check_room(part, name, (total or 0) - received)
        _append(response, part, received, total, name)
    return total


def _append(response: HTTPResponse, part: Path, received: int, total: int | None, name: str) -> None:
    bar = tqdm(total=total, initial=received, unit="B", unit_scale=True, desc=name, disable=None)
    with bar, part.open("ab" if received else "wb") as target:
        while block := response.read(BLOCK):
            target.write(block)
            bar.update(len(block))


def _check_room(part: Path, name: str, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise _disk_is_full(part.parent / name, f"{needed / 1e9:.1f} GB to come, {free / 1e9:.1f} GB free")


def _disk_is_full(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path.name}: no room on the disk of {path.parent} ({reason})",
        "make room, or choose another disk: --root DIR; the same command resumes",
    )
