"""States of sets on disk."""

from __future__ import annotations

import pytest

from replicas import BUILDERS
from robust_transfer.core.errors import DataError
from robust_transfer.data.check import unreadable_images
from robust_transfer.data.status import describe, status

FILE_SETS = [name for name in BUILDERS if name != "imagefolder"]


@pytest.mark.parametrize("name", FILE_SETS)
def test_nothing_is_missing_and_a_replica_is_partial(name, tmp_path):
    assert status(name, tmp_path).state == "missing"
    items = BUILDERS[name](tmp_path)
    state = status(name, tmp_path)
    assert state.state == "partial"
    assert state.found == (len(items["train"]), len(items["test"]))
    first, *below = describe(state).splitlines()
    assert f"{len(items['test'])}/{state.entry.test:,}" in first
    assert f"terms: {state.entry.licence}" in " ".join(text.strip() for text in below)
    assert all(len(text) <= 80 for text in [first, *below] if str(tmp_path) not in text)


def test_sets_inside_packages_and_a_users_folder_are_ok(tmp_path):
    BUILDERS["imagefolder"](tmp_path)
    assert [status(name, tmp_path).state for name in ("digits", "mnist5k", "imagefolder")] == ["ok"] * 3


def test_a_folder_without_its_lists_is_partial_and_says_which(tmp_path):
    BUILDERS["aircraft"](tmp_path)
    (tmp_path / "fgvc-aircraft-2013b/data/images_variant_test.txt").unlink()
    state = status("aircraft", tmp_path)
    assert state.state == "partial" and state.found == (4, None)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_check_decodes_every_image_and_names_the_bad(num_workers, tmp_path, monkeypatch):
    monkeypatch.setattr("robust_transfer.data.check.MIN_FOR_POOL", 4)
    items = BUILDERS["imagefolder"](tmp_path)
    bad = [tmp_path / "train/ape/ape_10.jpg", tmp_path / "val/Zoo/Zoo_1.jpg"]
    for file in bad:
        file.write_bytes(file.read_bytes()[:45])
    looked_at, problems = unreadable_images("imagefolder", tmp_path, num_workers=num_workers)
    assert looked_at == len(items["train"] + items["test"])
    assert sorted(problem.split(" ")[0] for problem in problems) == sorted(map(str, bad))


def test_check_of_a_set_that_is_not_whole_opens_nothing(tmp_path):
    BUILDERS["dtd"](tmp_path)
    with pytest.raises(DataError, match="not the official split"):
        unreadable_images("dtd", tmp_path)
