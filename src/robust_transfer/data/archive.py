"""Unpack a tar or zip archive so that nothing is written outside its folder; all of it is checked first."""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from robust_transfer.core.errors import DataError
from robust_transfer.data.images import file_problem

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class _Member(NamedTuple):
    """One entry of an archive; `kind` is file, directory, or what is refused: link or device."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: str | Path, root: str | Path, inner: str = "") -> int:
    """Unpack `archive` below `root` and return the number of files.

    The files are written to a temporary folder and moved into place at the end; macOS metadata (__MACOSX,
    ._*) is left out. Only one process at a time may unpack an archive below a root.

    Parameters
    ----------
    inner : glob of the archives inside that are unpacked, and all else is left out: a tar inside a zip
        (Caltech-101) into `root` itself, one inside a tar (ImageNet: one per class) into a folder of its name

    Raises
    ------
    DataError : the archive is damaged, does not fit on the disk, or holds a path that leaves `root`
        (absolute, `..`), a link or a device. Links are refused whatever they point to: chains of harmless
        ones lead out, and none of the sets has any.
    """
    archive, root = Path(archive), Path(root)
    try:
        return _unpack(archive, root, inner)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{archive} could not be unpacked below {root} ({error})") from error
    except Exception as error:  # damaged archives raise nearly anything from inside tarfile and zipfile
        raise DataError(
            f"{archive} is not a whole tar or zip archive ({file_problem(archive) or error})",
            "delete it and fetch it again",
        ) from error


def _unpack(archive: Path, root: Path, inner: str) -> int:
    total = 0
    with archive.open("rb") as stream:
        for member in _members(stream, archive.name, inner):
            _check(archive, member)
            total += member.size
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if total > free:
        raise DataError(f"{archive.name} needs {total / 1e9:.1f} GB below {root} (found {free / 1e9:.1f} GB)")
    prefix = f".unpack-{archive.name}-"
    for left_over in root.glob(f"{prefix}*"):  # by a process that was killed
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(dir=root, prefix=prefix) as staging, archive.open("rb") as stream:
        written = {  # a tar may name a member twice: the last one counts
            _write(member, Path(staging)): None
            for member in _members(stream, archive.name, inner)
            if member.kind == "file"
        }
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
        reason = "is not a portable path"
    if reason:
        raise DataError(
            f"{archive.name} is refused: its member {member.name!r} {reason} (nothing was written)",
            "get the archive from the publisher of the data set and compare its md5 (rt-data status)",
        )


def _members(stream: IO[bytes], name: str, inner: str) -> Iterator[_Member]:
    """Yield the members of an archive in its order; with `inner`, those of the archives inside alone."""
    is_zip = zipfile.is_zipfile(stream) and not name.endswith(_TAR_SUFFIXES)
    stream.seek(0)
    members = _zip_members(stream, inner) if is_zip else _tar_members(stream, inner)
    yield from (member for member in members if not _is_macos_metadata(member.name))


def _is_macos_metadata(name: str) -> bool:
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] == ".DS_Store"


def _zip_members(stream: IO[bytes], inner: str) -> Iterator[_Member]:
    with zipfile.ZipFile(stream) as opened:
        for info in opened.infolist():
            kind = (
                "link" if stat.S_ISLNK(info.external_attr >> 16) else "directory" if info.is_dir() else "file"
            )
            if not inner:
                yield _Member(info.filename, kind, info.file_size, partial(opened.open, info))
            elif kind == "file" and fnmatch(info.filename, inner) and not _is_macos_metadata(info.filename):
                with opened.open(info) as content:
                    yield from _tar_members(content, "")


def _tar_members(stream: IO[bytes], inner: str) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r|*") as opened:  # read as a stream: once from front to back
        for info in opened:
            if not inner:
                yield _Member(info.name, _tar_kind(info), info.size, partial(_content, opened, info))
            elif info.isreg() and fnmatch(info.name, inner) and not _is_macos_metadata(info.name):
                folder = info.name.removesuffix(".tar")
                inside = _tar_members(_content(opened, info), "")
                yield from (member._replace(name=f"{folder}/{member.name}") for member in inside)


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = opened.extractfile(info)
    assert content is not None, "only plain files are written"
    return content


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "file" if info.isreg() else "directory" if info.isdir() else "device"
