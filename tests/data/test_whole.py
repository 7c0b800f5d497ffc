"""One answer to "is it whole?", wherever the question is asked, and what is said of a part."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from replicas import BUILDERS, write_text
from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue, checksums, open_dataset
from robust_transfer.data.check import unreadable_images
from robust_transfer.data.checksums import known_md5, md5_of
from robust_transfer.data.entries import entries
from robust_transfer.data.imagenet_words import words
from robust_transfer.data.pins import FILE, first_read
from robust_transfer.data.status import describe, status
from robust_transfer.data.whole import class_hash, pin_of


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Replicas of a few sets, with a catalogue in which they are whole: counts, checksums and data hashes."""

    def build(name):
        BUILDERS[name](tmp_path)
        entry = dataclasses.replace(catalogue.get(name), file_md5={}, data_hash={}, class_hash="")
        listings = {
            split: catalogue.official_listing(catalogue.get(name), tmp_path, split, verify=False)
            for split in ("train", "test")
        }
        counts = {split: listing.expected for split, listing in listings.items()}
        hashes = {split: listing.official_hash() for split, listing in listings.items()}
        classes = len(listings["train"].class_names)
        official = class_hash(listings["train"].class_names)
        more = {"num_classes": classes, "data_hash": hashes, "class_hash": official, "words": ""}
        entry = dataclasses.replace(entry, **counts, **more)
        monkeypatch.setitem(entries(), name, entry)
        return tmp_path

    return build


def answers(name, root):
    """Ask everyone: status, check, plan, a run."""
    answer_of = {"status": status(name, root).state == "ok"}
    answer_of["plan"] = not any(catalogue.missing(name, root, split) for split in ("train", "test"))
    for who, ask in {
        "check": lambda: unreadable_images(name, root, num_workers=1),
        "run": lambda: [open_dataset(name, root, split) for split in ("train", "test")],
    }.items():
        try:
            ask()
            answer_of[who] = True
        except DataError as error:
            assert "data.verify=false" in error.hints[-1]
            answer_of[who] = False
    return answer_of


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
    monkeypatch.setitem(entries(), "cifar10", dataclasses.replace(entry, file_md5=md5))
    assert answers("cifar10", root) == dict.fromkeys(("status", "plan", "check", "run"), False)
    assert "is not the published file" in status("cifar10", root).problem


def test_a_set_whose_images_are_lost_is_used_from_half_of_a_split_on(small):
    root = small("birdsnap")  # 7 of 12 and 2 of 3 are there
    assert answers("birdsnap", root) == dict.fromkeys(("status", "plan", "check", "run"), True)
    assert status("birdsnap", root).problem == "6 listed images are absent; the others are used"
    assert catalogue.coverage("birdsnap", root) == {"train": (7, 12), "test": (2, 3)}
    for path in open_dataset("birdsnap", root, "train").paths[:2]:
        (root / path).unlink()
    assert answers("birdsnap", root) == dict.fromkeys(("status", "plan", "check", "run"), False)
    with pytest.raises(DataError, match="7 of 12 listed train images of birdsnap are missing, at least 50%"):
        open_dataset("birdsnap", root, "train")
    assert catalogue.coverage("birdsnap", root, verify=False) == {
        "train": (5, 12),
        "test": (2, 3),
    }


def test_a_part_of_the_pets_is_usable_and_keeps_the_ids_of_all(tmp_path):
    BUILDERS["pets"](tmp_path)
    train = open_dataset("pets", tmp_path, "train", verify=False)
    assert set(train.labels) == {0, 1, 5} and len(train.class_names) == 37
    assert catalogue.coverage("pets", tmp_path, verify=False) == {
        "train": (9, 3680),
        "test": (6, 3669),
    }
    write_text(tmp_path, "oxford-iiit-pet/annotations/trainval.txt", ["Bengal_1 3 1 3"])
    with pytest.raises(DataError, match="class 3 is American Pit Bull Terrier"):
        open_dataset("pets", tmp_path, "train", verify=False)


def test_lists_without_a_published_hash_are_held_to_the_first_whole_copy(small, monkeypatch):
    root = small("dtd")
    entry = dataclasses.replace(catalogue.get("dtd"), data_hash={})
    monkeypatch.setitem(entries(), "dtd", entry)
    (root / "dtd/dtd/images/banded/banded_0001.jpg").rename(root / "away")
    assert answers("dtd", root)["run"] is False and first_read(root, "dtd test 1") is None
    (root / "away").rename(root / "dtd/dtd/images/banded/banded_0001.jpg")
    assert answers("dtd", root) == dict.fromkeys(("status", "plan", "check", "run"), True)
    day = first_read(root, "dtd train 1")
    assert day and f"the first whole copy here ({day})" in describe(status("dtd", root), width=200)
    assert first_read(root, "dtd train 2") is None  # each partition has lists of its own
    spoil_list(root)
    assert answers("dtd", root) == dict.fromkeys(("status", "plan", "check", "run"), False)
    with pytest.raises(DataError, match=f"other images or labels than on {day}"):
        open_dataset("dtd", root, "train")
    (root / FILE).unlink()
    assert answers("dtd", root)["run"] is True


def test_a_published_hash_or_checked_files_need_no_first_copy_and_a_read_only_root_keeps_none(
    small, monkeypatch
):
    assert [pin_of(catalogue.get(name), "test", None) for name in ("caltech101", "cifar10", "digits")] == [
        None
    ] * 3
    assert pin_of(catalogue.get("cars"), "train", None) is None
    assert pin_of(catalogue.get("cars"), "test", None) == "cars test"
    assert (
        pin_of(dataclasses.replace(catalogue.get("sun397"), data_hash={"test": "0"}), "test", 2)
        == "sun397 test 2"
    )
    root = small("pets")
    monkeypatch.setitem(entries(), "pets", dataclasses.replace(catalogue.get("pets"), data_hash={}))

    def refuse(*arguments):
        raise PermissionError

    monkeypatch.setattr("robust_transfer.data.pins.write_json", refuse)
    assert answers("pets", root)["run"] is True and first_read(root, "pets train") is None


def test_the_md5_of_a_file_is_computed_once_a_machine_until_the_file_changes(tmp_path, monkeypatch):
    file, counted = tmp_path / "batch", []
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    monkeypatch.setattr(checksums, "md5_of", lambda path: counted.append(path) or md5_of(path))
    assert [known_md5(file), known_md5(file)] == [md5_of(file)] * 2 and len(counted) == 1
    file.write_bytes(b"two")
    assert known_md5(file) == md5_of(file) and len(counted) == 2
    assert known_md5(file) == md5_of(file) and len(counted) == 3  # it changed just now, and may again
    os.utime(file, (2, 2))
    assert known_md5(file) == md5_of(file) and len(counted) == 4


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


def test_folders_of_imagenet_by_number_are_refused(small):
    root = small("imagenet")
    assert answers("imagenet", root) == dict.fromkeys(("status", "plan", "check", "run"), True)
    for part in ("train", "val"):
        for number, wnid in enumerate(("n01440764", "n01443537")):
            (root / f"imagenet/{part}/{wnid}").rename(root / f"imagenet/{part}/{number}")
    assert answers("imagenet", root) == dict.fromkeys(("status", "plan", "check", "run"), False)
    assert "classes of imagenet" in catalogue.missing("imagenet", root, "test")


def test_the_classes_of_imagenet_are_those_that_others_list_and_have_words():
    from timm.data import ImageNetInfo

    wnids = ImageNetInfo().label_names()
    assert class_hash(wnids) == catalogue.get("imagenet").class_hash
    assert len(words()) == 1000
    for wnid, word in {
        "n01440764": "tench",
        "n02124075": "Egyptian cat",
        "n15075141": "toilet tissue",
    }.items():
        assert words()[wnids.index(wnid)] == word


REAL = os.environ.get("RT_REAL_DATA")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="RT_REAL_DATA names no folder with the archives of real images")
def test_real_sets_are_what_the_catalogue_says(tmp_path):
    for archive in ("caltech101-72px.tar", *(f"tiny-imagenet-{i}of3.tar" for i in (1, 2, 3))):
        shutil.unpack_archive(Path(REAL) / archive, tmp_path)
    assert answers("caltech101", tmp_path) == dict.fromkeys(("status", "plan", "check", "run"), True)
    assert len(open_dataset("tiny_imagenet", tmp_path, "test")) == 10_000
    with pytest.raises(DataError, match="expected 100000 images of 200 classes, found 44000 of 200"):
        open_dataset("tiny_imagenet", tmp_path, "train")
    train = open_dataset("tiny_imagenet", tmp_path, "train", verify=False)
    assert len(train) == 44_000 and train.class_names[0] == "goldfish"
