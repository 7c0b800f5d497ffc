"""Fetching: what is downloaded, what is asked for, what is refused. The network is a folder here."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tarfile
import urllib.error

import numpy as np
import pytest
from scipy.io import savemat

from replicas import BUILDERS, write_image, write_text
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import catalogue, fetch, open_dataset
from robust_transfer.data.checksums import md5_of
from robust_transfer.data.entries import _entries
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
    monkeypatch.setitem(_entries(), "pets", entry)
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


def test_what_was_unpacked_before_is_not_downloaded_again(pets_archives, tmp_path, caplog):
    fetch.fetch("pets", tmp_path / "data")
    for file in (tmp_path / "data/archives").iterdir():
        file.unlink()
    shutil.rmtree(tmp_path / "data/oxford-iiit-pet/annotations")
    caplog.set_level("INFO")
    fetch.fetch("pets", tmp_path / "data")
    assert [file.name for file in (tmp_path / "data/archives").iterdir()] == ["annotations.tar.gz"]
    assert "images.tar.gz was unpacked before" in caplog.messages[0] and "pets: ok" in caplog.messages[-1]


def test_a_damaged_archive_is_refused_and_not_unpacked(pets_archives, tmp_path):
    file = pets_archives / "annotations.tar.gz"
    file.write_bytes(b"<html>too many requests</html>")
    with pytest.raises(DataError, match=r"annotations\.tar\.gz is not the published archive \(expected md5"):
        fetch.fetch("pets", tmp_path / "data")
    assert status("pets", tmp_path / "data").state == "partial"


def test_no_network_is_one_line_that_says_where_the_file_goes(tmp_path, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(DataError, match=r"no connection to .*dtd-r1") as caught:
        fetch.fetch("dtd", tmp_path)
    assert str(tmp_path / "archives/dtd-r1.0.1.tar.gz") in caught.value.hints[0]
    assert not list((tmp_path / "archives").iterdir())


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
    counts = {"train": 2, "test": 4, "num_classes": 2}
    entry = dataclasses.replace(catalogue.get("imagenet"), **counts, archives=archives)
    monkeypatch.setitem(_entries(), "imagenet", entry)

    fetch.fetch("imagenet", root)
    assert status("imagenet", root).state == "ok"
    test = open_dataset("imagenet", root, "test")
    found = {
        path.rpartition("_")[2]: test.class_names[label]
        for path, label in zip(test.paths, test.labels, strict=True)
    }
    assert found == {f"{i + 1:08d}.JPEG": wnids[one - 1] for i, one in enumerate(truth)}


def test_a_set_inside_a_package_has_nothing_to_fetch(tmp_path):
    with pytest.raises(ConfigError, match="nothing to fetch"):
        fetch.fetch("digits", tmp_path)
