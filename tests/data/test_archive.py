"""Archives that try to leave their folder, and archives of the shapes the sets come in."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from robust_transfer.core.errors import DataError
from robust_transfer.data.archive import unpack


def tar_of(members, mode="w:gz"):
    """Build a tar; a member is (name, bytes) or a ready TarInfo."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(members, symlinks=()):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        for name, target in symlinks:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, target)
    return stream.getvalue()


GOOD = ("set/1.jpg", b"one")
DEVICE = tarfile.TarInfo("set/null")
DEVICE.type = tarfile.CHRTYPE
TRICKS = {
    "parent.tar.gz": tar_of([GOOD, ("../evil", b"x")]),
    "deep_parent.tar": tar_of([GOOD, ("set/../../evil", b"x")], "w"),
    "absolute.tgz": tar_of([GOOD, ("/tmp/rt_evil", b"x")]),
    "symlink_out.tar.gz": tar_of([GOOD, link("set/out", "../.."), ("set/out/evil", b"x")]),
    "symlink_absolute.tar.gz": tar_of([GOOD, link("set/out", "/etc")]),
    "symlink_chain.tar.gz": tar_of([link("a", "."), link("a/b", ".."), ("a/b/evil", b"x")]),
    "hardlink.tar.gz": tar_of([GOOD, link("set/passwd", "/etc/passwd", tarfile.LNKTYPE)]),
    "device.tar.gz": tar_of([GOOD, DEVICE]),
    "parent.zip": zip_of([GOOD, ("../evil", b"x")]),
    "absolute.zip": zip_of([GOOD, ("/tmp/rt_evil", b"x")]),
    "drive.zip": zip_of([GOOD, ("C:/evil", b"x")]),
    "backslash.zip": zip_of([GOOD, ("..\\evil", b"x")]),
    "symlink.zip": zip_of([GOOD], symlinks=[("set/out", "/etc")]),
    "tar_inside.zip": zip_of([GOOD, ("inner/data.tar.gz", tar_of([GOOD, ("../../evil", b"x")]))]),
    "link_in_tar_inside.zip": zip_of([("inner/data.tar.gz", tar_of([link("out", "/etc")]))]),
}


@pytest.mark.parametrize("name", list(TRICKS))
def test_a_trick_is_refused_and_nothing_is_written_anywhere(name, tmp_path):
    archive = tmp_path / "archives" / name
    archive.parent.mkdir()
    archive.write_bytes(TRICKS[name])
    root = tmp_path / "home" / "data"
    with pytest.raises(DataError, match=r"is refused: its member '.*nothing was written"):
        unpack(archive, root)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
    assert not root.exists() and not Path("/tmp/rt_evil").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_unpacks_what_was_packed(mode, tmp_path):
    members = {"set/1.jpg": b"one", "./set/sub/2.jpg": b"two", "top.txt": b""}
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of(members.items(), mode))
    assert unpack(archive, tmp_path / "data") == 3
    found = {
        p.relative_to(tmp_path / "data").as_posix(): p.read_bytes() for p in (tmp_path / "data").rglob("*.*")
    }
    assert found == {"set/1.jpg": b"one", "set/sub/2.jpg": b"two", "top.txt": b""}


def test_a_tar_inside_a_zip_is_unpacked_into_the_folder_itself(tmp_path):
    """The shape of caltech-101.zip."""
    inner = tar_of([("101_ObjectCategories/Faces/image_0001.jpg", b"face")])
    archive = tmp_path / "caltech-101.zip"
    archive.write_bytes(
        zip_of([("caltech-101/101_ObjectCategories.tar.gz", inner), ("caltech-101/show.m", b"m")])
    )
    unpack(archive, tmp_path / "data")
    assert (tmp_path / "data/101_ObjectCategories/Faces/image_0001.jpg").read_bytes() == b"face"
    assert (tmp_path / "data/caltech-101/show.m").is_file()


def test_unpacking_adds_to_what_is_there(tmp_path):
    (tmp_path / "data/set").mkdir(parents=True)
    (tmp_path / "data/set/mine.txt").write_text("mine")
    (tmp_path / "data/set/1.jpg").write_text("half")
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_of([GOOD]))
    unpack(archive, tmp_path / "data")
    assert (tmp_path / "data/set/mine.txt").read_text() == "mine"
    assert (tmp_path / "data/set/1.jpg").read_bytes() == b"one"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["set"]


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>quota exceeded</html>",
        b"",
        tar_of([("a", bytes(range(256)) * 400)])[:500],
        zip_of([GOOD])[:60],
    ],
    ids=["html", "empty", "cut_tar", "cut_zip"],
)
def test_a_file_that_is_no_whole_archive_is_one_line_and_writes_nothing(content, tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(DataError, match="no whole tar or zip archive"):
        unpack(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_disk_that_is_too_small_is_said_before_writing(tmp_path, monkeypatch):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_of([GOOD]))
    free = type("Usage", (), {"free": 1})()
    monkeypatch.setattr("robust_transfer.data.archive.shutil.disk_usage", lambda path: free)
    with pytest.raises(DataError, match=r"needs .* GB"):
        unpack(archive, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())
