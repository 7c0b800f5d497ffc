"""One answer to "is it whole?", wherever the question is asked, and what is said of a part."""

from __future__ import annotations

import dataclasses

import pytest

from replicas import BUILDERS, write_text
from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue, open_dataset
from robust_transfer.data.check import unreadable_images
from robust_transfer.data.entries import _entries
from robust_transfer.data.status import describe, status


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Replicas of a few sets, with a catalogue in which they are whole: counts, checksums and data hashes."""

    def build(name):
        BUILDERS[name](tmp_path)
        entry = dataclasses.replace(catalogue.get(name), file_md5={}, data_hash={})
        listings = {
            split: catalogue.official_listing(name, tmp_path, split, verify=False)
            for split in ("train", "test")
        }
        counts = {split: listing.expected for split, listing in listings.items()}
        hashes = {split: listing.official_hash() for split, listing in listings.items()}
        classes = len(listings["train"].class_names)
        entry = dataclasses.replace(entry, **counts, num_classes=classes, data_hash=hashes)
        monkeypatch.setitem(_entries(), name, entry)
        return tmp_path

    return build


def answers(name, root):
    """Ask everyone: status, check, plan, a run."""
    found = {"status": status(name, root).state == "ok"}
    found["plan"] = not any(catalogue.missing(name, root, split) for split in ("train", "test"))
    for who, ask in {
        "check": lambda: unreadable_images(name, root, num_workers=1),
        "run": lambda: [open_dataset(name, root, split) for split in ("train", "test")],
    }.items():
        try:
            ask()
            found[who] = True
        except DataError as error:
            assert "data.verify=false" in error.hints[-1]
            found[who] = False
    return found


def spoil_nothing(root):
    pass


def spoil_list(root):
    swapped = ["banded/banded_0004.jpg", "waffled/waffled_0001.jpg", "zigzagged/zigzagged_0005.jpg"]
    write_text(root, "dtd/dtd/labels/train1.txt", swapped)
    (root / "dtd/dtd/images/banded/banded_0004.jpg").write_bytes(b"an image")


def spoil_image(root):
    (root / "dtd/dtd/images/banded/banded_0001.jpg").unlink()


def spoil_count(root):
    write_text(root, "dtd/dtd/labels/test1.txt", ["banded/banded_0001.jpg"])


@pytest.mark.parametrize("spoil", [spoil_nothing, spoil_list, spoil_image, spoil_count])
def test_status_check_plan_and_run_agree(spoil, small):
    root = small("dtd")
    spoil(root)
    whole = spoil is spoil_nothing
    assert answers("dtd", root) == dict.fromkeys(("status", "plan", "check", "run"), whole)
    assert len(open_dataset("dtd", root, "train", verify=False)) > 0


def test_a_file_that_is_not_the_published_one_is_seen_by_everyone(small, monkeypatch):
    root = small("cifar10")
    entry = catalogue.get("cifar10")
    md5 = {"cifar-10-batches-py/data_batch_1": "0" * 32}
    monkeypatch.setitem(_entries(), "cifar10", dataclasses.replace(entry, file_md5=md5))
    assert answers("cifar10", root) == dict.fromkeys(("status", "plan", "check", "run"), False)
    assert "is not the published file" in describe(status("cifar10", root))


def test_a_set_whose_images_are_lost_is_used_from_half_of_a_split_on(small):
    root = small("birdsnap")  # 7 of 12 and 2 of 3 are there
    assert answers("birdsnap", root) == dict.fromkeys(("status", "plan", "check", "run"), True)
    assert "6 listed images are not there; the others are used" in describe(status("birdsnap", root))
    assert catalogue.coverage("birdsnap", root) == {"train": (7, 12), "test": (2, 3)}
    for path in open_dataset("birdsnap", root, "train").paths[:2]:
        (root / path).unlink()
    assert answers("birdsnap", root) == dict.fromkeys(("status", "plan", "check", "run"), False)
    with pytest.raises(DataError, match="7 of 12 listed train images of birdsnap are missing, at least 50%"):
        open_dataset("birdsnap", root, "train")
    assert catalogue.coverage("birdsnap", root, verify=False) == {"train": (5, 12), "test": (2, 3)}


def test_a_part_of_the_pets_is_usable_and_keeps_the_ids_of_all(tmp_path):
    BUILDERS["pets"](tmp_path)
    train = open_dataset("pets", tmp_path, "train", verify=False)
    assert set(train.labels) == {0, 1, 5} and len(train.class_names) == 37
    assert catalogue.coverage("pets", tmp_path, verify=False) == {"train": (9, 3680), "test": (6, 3669)}
    write_text(tmp_path, "oxford-iiit-pet/annotations/trainval.txt", ["Bengal_1 3 1 3"])
    with pytest.raises(DataError, match="class 3 is American Pit Bull Terrier"):
        open_dataset("pets", tmp_path, "train", verify=False)


def test_images_one_folder_deeper_are_found_and_named(tmp_path):
    BUILDERS["cars"](tmp_path)
    for split in ("train", "test"):
        folder = tmp_path / f"stanford_cars/cars_{split}"
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (tmp_path / "moved").rename(folder / f"cars_{split}")
    with pytest.raises(DataError, match="none of the 4 listed train images") as caught:
        open_dataset("cars", tmp_path, "train", verify=False)
    assert "one folder deeper: rt-data import cars --from" in caught.value.hints[0]
