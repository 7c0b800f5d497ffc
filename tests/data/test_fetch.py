"""Fetching: what is downloaded, what is asked for, what is refused. The network is a folder here."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from replicas import BUILDERS, write_image, write_text
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import catalogue, fetch, open_dataset
from robust_transfer.data.checksums import md5_of
from robust_transfer.data.entries import entries
from robust_transfer.data.status import status


@pytest.fixture
def pets_archives(tmp_path, monkeypatch):
    """The two archives of a tiny Pets, with a catalogue that knows their md5 and a place to download from."""
    origin, where = tmp_path / "origin", tmp_path / "there"
    where.mkdir()
    BUILDERS["pets"](origin)
    archives = []
    for archive in catalogue.get("pets").archives:
        folder = archive.file.partition(".")[0]
        with tarfile.open(where / archive.file, "w:gz") as tar:
            tar.add(origin / "oxford-iiit-pet" / folder, folder)
        content = (where / archive.file).read_bytes()
        url = (where / archive.file).as_uri()
        archives.append(dataclasses.replace(archive, md5=hashlib.md5(content).hexdigest(), url=url))
    counts = {"train": 9, "test": 6, "num_classes": 37}
    entry = dataclasses.replace(catalogue.get("pets"), **counts, archives=tuple(archives))
    monkeypatch.setitem(entries(), "pets", entry)
    return where


def test_fetch_downloads_unpacks_and_then_has_nothing_to_do(pets_archives, tmp_path, caplog):
    caplog.set_level("INFO")
    root = tmp_path / "data"
    fetch.fetch("pets", root)
    assert status("pets", root).state == "ok" and "pets: ok" in caplog.messages[-1]
    caplog.clear()
    fetch.fetch("pets", root)
    assert caplog.messages == [f"pets: complete under {root}"]


def test_an_archive_put_by_hand_needs_no_network(pets_archives, tmp_path, monkeypatch):
    (tmp_path / "data/archives").mkdir(parents=True)
    for file in pets_archives.iterdir():
        file.rename(tmp_path / "data/archives" / file.name)
    monkeypatch.setattr(fetch, "download", None)
    fetch.fetch("pets", tmp_path / "data")
    assert status("pets", tmp_path / "data").state == "ok"


def test_what_was_unpacked_before_is_not_downloaded_again(pets_archives, tmp_path):
    root = tmp_path / "data"
    fetch.fetch("pets", root)
    for file in (root / "archives").iterdir():
        file.unlink()
    shutil.rmtree(root / "oxford-iiit-pet/annotations")
    fetch.fetch("pets", root)
    assert [f.name for f in (root / "archives").glob("[!.]*")] == ["annotations.tar.gz"]
    assert status("pets", root).state == "ok"


@pytest.mark.parametrize("archives_kept", [True, False])
def test_what_is_there_in_part_is_unpacked_again(archives_kept, pets_archives, tmp_path):
    root = tmp_path / "data"
    fetch.fetch("pets", root)
    for image in sorted((root / "oxford-iiit-pet/images").iterdir())[2:]:
        image.unlink()
    if not archives_kept:
        shutil.rmtree(root / "archives")
    assert status("pets", root).state == "partial"
    fetch.fetch("pets", root)
    assert status("pets", root).state == "ok"
    if not archives_kept:  # the lists were right, and are not got again
        assert [f.name for f in (root / "archives").glob("[!.]*")] == ["images.tar.gz"]


def test_a_set_that_is_not_whole_at_the_end_is_an_error(pets_archives, tmp_path, monkeypatch):
    entry = dataclasses.replace(catalogue.get("pets"), train=10)
    monkeypatch.setitem(entries(), "pets", entry)
    with pytest.raises(DataError, match="pets is not whole: pets train is not the official split"):
        fetch.fetch("pets", tmp_path / "data")


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_damaged_archive_is_refused_and_not_unpacked(by_hand, pets_archives, tmp_path):
    page = b"<html>too many requests</html>"
    if by_hand:
        (tmp_path / "data/archives").mkdir(parents=True)
        (tmp_path / "data/archives/annotations.tar.gz").write_bytes(page)
        message = r"annotations\.tar\.gz is not the published archive \(expected md5 .*a web page"
    else:
        (pets_archives / "annotations.tar.gz").write_bytes(page)
        message = r"annotations\.tar\.gz: .* did not send the published file \(expected md5 .*a web page"
    with pytest.raises(DataError, match=message):
        fetch.fetch("pets", tmp_path / "data")
    assert status("pets", tmp_path / "data").state != "ok"
    assert (tmp_path / "data/archives/annotations.tar.gz").is_file() == by_hand


def test_what_cannot_be_downloaded_is_named_with_size_and_md5(tmp_path):
    with pytest.raises(DataError) as caught:
        fetch.fetch("cars", tmp_path)
    for archive in catalogue.get("cars").archives:
        assert f"{archive.file} ({archive.size}, md5 {archive.md5})" in caught.value.what
    assert str(tmp_path / "archives") in caught.value.what


def test_imagenet_archives_unpack_into_class_folders(tmp_path, monkeypatch):
    """A tar a class for training, a flat one for validation, labels in the devkit."""
    origin, root = tmp_path / "origin", tmp_path / "data"
    wnids = ["n02000002", "n01000001"]  # ids 1 and 2; id 3 is no leaf
    kind = np.dtype([("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")])
    synsets = np.array([[(1, wnids[0], 0)], [(2, wnids[1], 0)], [(3, "n00000000", 2)]], dtype=kind)
    devkit = "ILSVRC2012_devkit_t12/data"
    (origin / devkit).mkdir(parents=True)
    savemat(origin / devkit / "meta.mat", {"synsets": synsets})
    truth = [2, 1, 1, 2]
    write_text(origin, f"{devkit}/ILSVRC2012_validation_ground_truth.txt", [str(one) for one in truth])
    (root / "archives").mkdir(parents=True)
    with tarfile.open(root / "archives/ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(origin / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    with tarfile.open(root / "archives/ILSVRC2012_img_val.tar", "w") as tar:
        for i in range(4):
            write_image(origin, f"val_{i}")
            tar.add(origin / f"val_{i}", f"ILSVRC2012_val_{i + 1:08d}.JPEG")
    with tarfile.open(root / "archives/ILSVRC2012_img_train.tar", "w") as tar:
        for wnid in wnids:
            with tarfile.open(origin / f"{wnid}.tar", "w") as inner:
                inner.add(origin / "val_0", f"{wnid}_10.JPEG")
            tar.add(origin / f"{wnid}.tar", f"{wnid}.tar")
    archives = tuple(
        dataclasses.replace(one, md5=md5_of(root / "archives" / one.file))
        for one in catalogue.get("imagenet").archives
    )
    counts = {"train": 2, "test": 4, "num_classes": 2, "class_hash": ""}
    entry = dataclasses.replace(catalogue.get("imagenet"), **counts, archives=archives)
    monkeypatch.setitem(entries(), "imagenet", entry)

    fetch.fetch("imagenet", root)
    assert status("imagenet", root).state == "ok"
    test = open_dataset("imagenet", root, "test")
    unpacked = {
        path.rpartition("_")[2]: test.class_names[label]
        for path, label in zip(test.paths, test.labels, strict=True)
    }
    assert unpacked == {f"{i + 1:08d}.JPEG": wnids[one - 1] for i, one in enumerate(truth)}


def test_a_set_inside_a_package_has_nothing_to_fetch(tmp_path):
    with pytest.raises(ConfigError, match="nothing to fetch"):
        fetch.fetch("digits", tmp_path)
