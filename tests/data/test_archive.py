"""Archives that try to leave their folder, and archives of the shapes the sets come in."""

from __future__ import annotations

import io
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from robust_transfer.core.errors import DataError
from robust_transfer.data.archive import unpack
from robust_transfer.data.entries import get


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
    "line_break.zip": zip_of([GOOD, ("../a\nb", b"x")]),
}
INNER_TRICKS = {
    "tar_inside.zip": zip_of([GOOD, ("inner/data.tar.gz", tar_of([GOOD, ("../../evil", b"x")]))]),
    "link_in_tar_inside.zip": zip_of([("inner/data.tar.gz", tar_of([link("out", "/etc")]))]),
    "tar_inside.tar": tar_of([("n1.tar", tar_of([("../../evil", b"x")], "w"))], "w"),
    "tar_of_a_bad_name.tar": tar_of([("../n1.tar", tar_of([GOOD], "w"))], "w"),
}


@pytest.mark.parametrize("name", [*TRICKS, *INNER_TRICKS])
def test_a_trick_is_refused_and_nothing_is_written_anywhere(name, tmp_path):
    archive = tmp_path / "archives" / name
    archive.parent.mkdir()
    archive.write_bytes({**TRICKS, **INNER_TRICKS}[name])
    root = tmp_path / "home" / "data"
    with pytest.raises(DataError, match=r"is refused: its member '.*nothing was written"):
        unpack(archive, root, "*.tar*" if name in INNER_TRICKS else "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
    assert not root.exists() and not Path("/tmp/rt_evil").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_unpacks_what_was_packed(mode, tmp_path):
    members = {"set/1.jpg": b"one", "./set/sub/2.jpg": b"two", "top.txt": b""}
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of(members.items(), mode))
    assert unpack(archive, tmp_path / "data") == 3
    unpacked = {
        p.relative_to(tmp_path / "data").as_posix(): p.read_bytes() for p in (tmp_path / "data").rglob("*.*")
    }
    assert unpacked == {"set/1.jpg": b"one", "set/sub/2.jpg": b"two", "top.txt": b""}


APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(140)


def names_of(archive, root, inner=""):
    unpack(archive, root, inner)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_caltech_101_as_it_is_published(tmp_path):
    """Zipped on a Mac: the images in a tar inside, and a file of the Mac's beside each true one."""
    face = "101_ObjectCategories/Faces/image_0001.jpg"
    inner = tar_of([(face, b"face"), ("101_ObjectCategories/._Faces", APPLE_DOUBLE)])
    archive = tmp_path / "caltech-101.zip"
    members = [
        ("caltech-101/101_ObjectCategories.tar.gz", inner),
        ("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", APPLE_DOUBLE),
        ("caltech-101/Annotations.tar", tar_of([("Annotations/1.mat", b"m")], "w")),
        ("__MACOSX/caltech-101/._Annotations.tar", APPLE_DOUBLE),
        ("__MACOSX/caltech-101/icon", APPLE_DOUBLE),
        ("caltech-101/show_annotation.m", b"m"),
        ("caltech-101/.DS_Store", b"Bud1"),
    ]
    archive.write_bytes(zip_of(members))
    inner = get("caltech101").archives[0].inner
    assert names_of(archive, tmp_path / "data", inner) == [face]
    assert names_of(archive, tmp_path / "all") == [
        "caltech-101/101_ObjectCategories.tar.gz",
        "caltech-101/Annotations.tar",
        "caltech-101/show_annotation.m",
    ]


def test_what_a_mac_leaves_in_a_tar_is_left_out(tmp_path):
    archive = tmp_path / "annotations.tar.gz"
    archive.write_bytes(tar_of([GOOD, ("./._set", APPLE_DOUBLE), ("set/._1.jpg", APPLE_DOUBLE)]))
    assert names_of(archive, tmp_path / "data") == ["set/1.jpg"]


def test_imagenets_tars_inside_a_tar_become_class_folders(tmp_path):
    archive = tmp_path / "train.tar"
    tars = [(f"{wnid}.tar", tar_of([(f"{wnid}_1.JPEG", b"x")], "w")) for wnid in ("n01", "n02")]
    archive.write_bytes(tar_of(tars, "w"))
    inner = get("imagenet").archives[1].inner
    assert names_of(archive, tmp_path / "data", inner) == ["n01/n01_1.JPEG", "n02/n02_1.JPEG"]


def test_a_member_that_is_named_twice_stands_as_it_came_last(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of([GOOD, ("set/1.jpg", b"again")], "w"))
    assert names_of(archive, tmp_path / "data") == ["set/1.jpg"]
    assert (tmp_path / "data/set/1.jpg").read_bytes() == b"again"


def test_what_a_killed_process_left_is_removed(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of([GOOD], "w"))
    (tmp_path / "data/.unpack-a.tar-x1/set").mkdir(parents=True)
    (tmp_path / "data/.unpack-other.tar-x1").mkdir()
    unpack(archive, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".unpack-other.tar-x1", "set"]


@pytest.mark.parametrize("kind", ["tar.gz", "tar", "zip"])
def test_no_mutation_of_an_archive_leaves_its_folder_or_raises_anything_but_one_line(kind, tmp_path):
    """Bytes changed, cut out and doubled, all from one seed."""
    drawn = random.Random(0)
    members = [GOOD, ("set/sub/2.jpg", bytes(300)), ("set/3.txt", b"three")]
    whole = zip_of(members) if kind == "zip" else tar_of(members, "w" if kind == "tar" else "w:gz")
    archive, root = tmp_path / f"a.{kind}", tmp_path / "home/data"
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(drawn.randint(1, 4)):
            at, length = drawn.randrange(len(content)), drawn.randint(1, 20)
            content[at : at + length] = drawn.choice(
                [drawn.randbytes(length), b"", content[at : at + length] * 2, b"../", b"/", b"\n"]
            )
        archive.write_bytes(content)
        try:
            unpack(archive, root)
        except DataError as error:
            assert len(error.what.splitlines()) == 1
        outside = {p for p in tmp_path.rglob("*") if p.is_file()} - {archive}
        assert all(path.is_relative_to(root) for path in outside)
        shutil.rmtree(root, ignore_errors=True)


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
    with pytest.raises(DataError, match="is not a whole tar or zip archive"):
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
