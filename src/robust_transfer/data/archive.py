"""Unpack a tar or zip archive so that nothing lands outside its folder; checked whole before any writing."""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from robust_transfer.core.errors import DataError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class _Member(NamedTuple):
    """One entry of an archive; `kind` is file, directory, or the word for what is refused."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: str | Path, root: str | Path) -> int:
    """Unpack `archive` below `root` and return the number of files.

    A tar inside a zip (Caltech-101) is unpacked into `root` itself, a tar inside a tar (ImageNet: one a
    class) into a folder of its name. The files are written beside their place and moved there at the end.

    Raises
    ------
    DataError : the archive is damaged, does not fit on the disk, or holds a path that leaves `root`
        (absolute, `..`), a link or a device. Links are refused whatever they point to: chains of harmless
        ones lead out, and none of the sets has any.
    """
    archive, root = Path(archive), Path(root)
    try:
        return _unpack(archive, root)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
    ) as error:
        raise DataError(
            f"{archive} is no whole tar or zip archive ({error})", "delete it and fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{archive} could not be unpacked below {root} ({error})") from error


def _unpack(archive: Path, root: Path) -> int:
    total = 0
    with archive.open("rb") as stream:
        for member in _members(stream, archive.name):
            _check(archive, member)
            total += member.size
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if total > free:
        raise DataError(f"{archive.name} needs {total / 1e9:.1f} GB below {root} (found {free / 1e9:.1f} GB)")
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as staging, archive.open("rb") as stream:
        written = [
            _write(member, Path(staging))
            for member in _members(stream, archive.name)
            if member.kind == "file"
        ]
        for path in written:
            target = root / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
    return len(written)


def _write(member: _Member, folder: Path) -> Path:
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return path


def _check(archive: Path, member: _Member) -> None:
    """Refuse a member that is not a plain file or folder below the root."""
    reason = None
    if member.kind not in ("file", "directory"):
        reason = f"is a {member.kind}"
    elif member.name.startswith("/") or re.match("[A-Za-z]:", member.name):
        reason = "is an absolute path"
    elif ".." in re.split(r"[/\\]", member.name):
        reason = "leaves the folder"
    elif "\\" in member.name or not member.name.strip("/"):
        reason = "is no portable path"
    if reason:
        raise DataError(
            f"{archive.name} is refused: its member '{member.name}' {reason} (nothing was written)",
            "get the archive from the publisher of the data set, and compare its md5 (rt-data status)",
        )


def _members(stream: IO[bytes], name: str) -> Iterator[_Member]:
    """Yield the members of an archive in its order, and in place of a tar inside a zip that tar's members."""
    if zipfile.is_zipfile(stream) and not name.endswith(_TAR_SUFFIXES):
        with zipfile.ZipFile(stream) as opened:
            for info in opened.infolist():
                yield from _zip_member(opened, info)
    else:
        stream.seek(0)
        yield from _tar_members(stream)


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[_Member]:
    mode = info.external_attr >> 16
    kind = "link" if stat.S_ISLNK(mode) else "directory" if info.is_dir() else "file"
    if kind == "file" and info.filename.endswith(_TAR_SUFFIXES):
        with opened.open(info) as inner:
            yield from _tar_members(inner)
    else:
        yield _Member(info.filename, kind, info.file_size, lambda: opened.open(info))


def _tar_members(stream: IO[bytes]) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r|*") as opened:  # read as a stream: once from front to back
        for info in opened:
            if info.isreg() and info.name.endswith(".tar"):
                folder = info.name.removesuffix(".tar")
                inside = _tar_members(_content(opened, info))
                yield from (member._replace(name=f"{folder}/{member.name}") for member in inside)
                continue
            yield _Member(info.name, _tar_kind(info), info.size, partial(_content, opened, info))


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = opened.extractfile(info)
    assert content is not None, "only plain files are written"
    return content


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "file" if info.isreg() else "directory" if info.isdir() else "device"
