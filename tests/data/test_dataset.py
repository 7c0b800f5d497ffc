"""Opening a split: which images, which are refused, what identifies them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from replicas import BUILDERS
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import catalogue, open_dataset
from robust_transfer.data.images import open_rgb


def open_digits(split, **options):
    return open_dataset("digits", ".", split, **options)


def test_train_and_validation_are_the_whole_training_set():
    whole = open_digits("train")
    train = open_digits("train", validation_fraction=0.2)
    validation = open_digits("validation", validation_fraction=0.2)
    assert sorted([*train.paths, *validation.paths]) == sorted(whole.paths)
    assert 190 <= len(validation) <= 210
    assert open_digits("test", validation_fraction=0.2).fingerprint() == open_digits("test").fingerprint()


def test_validation_does_not_depend_on_shots_and_shares_no_image_with_them():
    validation = open_digits("validation", validation_fraction=0.2)
    few = open_digits("validation", validation_fraction=0.2, shots=3)
    assert validation.paths == few.paths
    shots = open_digits("train", validation_fraction=0.2, shots=3)
    assert len(shots) == 30 and not set(shots.paths) & set(validation.paths)


def test_split_seed_changes_the_draw_and_the_fingerprint():
    one, again, other = (open_digits("train", shots=4, split_seed=seed) for seed in (0, 0, 1))
    assert one.paths == again.paths and one.fingerprint() == again.fingerprint() != other.fingerprint()


def test_fingerprint_is_the_hash_of_paths_and_labels():
    dataset = open_digits("train", shots=1)
    lines = [f"{path}\t{label}\n" for path, label in zip(dataset.paths, dataset.labels, strict=True)]
    assert dataset.fingerprint() == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "split 'val'"),
        ({"split": "validation"}, "validation split is empty"),
        ({"split": "train", "shots": 1, "train_fraction": 0.1}, "both given"),
        ({"split": "train", "shots": 0}, "shots=0"),
        ({"split": "train", "partition": 2}, "no partitions"),
        ({"split": "train", "on_error": "ignore"}, "on_error='ignore'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        open_dataset("digits", ".", **options)


def test_generated_images_have_the_classes_of_the_set_and_a_key_each():
    first = open_dataset("imagenet", "/nowhere", "train", generated=40, shots=5)
    assert len(first) == 40 and len(first.class_names) == 1000 and len(set(first.labels)) == 40
    assert len(set(open_dataset("pets", "/nowhere", "test", generated=74).labels)) == 37
    again = open_dataset("imagenet", "/nowhere", "train", generated=40)
    test = open_dataset("imagenet", "/nowhere", "test", generated=40)
    pixels = [np.asarray(dataset[7][0]) for dataset in (first, again, test)]
    assert (pixels[0] == pixels[1]).all() and (pixels[0] != pixels[2]).any()


@pytest.mark.parametrize("name", ["cifar10", "flowers102"])
def test_files_with_another_checksum_are_refused_unless_verify_is_off(name, tmp_path):
    BUILDERS[name](tmp_path)
    with pytest.raises(DataError, match="is not the published file") as caught:
        open_dataset(name, tmp_path, "test")
    assert "data.verify=false" in caught.value.hints[1]
    assert len(open_dataset(name, tmp_path, "test", verify=False))


def test_official_counts_open_with_verify(tmp_path):
    """DTD with all its 5,640 files: the counts are the catalogue's, the files are empty and never opened."""
    home, entry = tmp_path / "dtd/dtd", catalogue.get("dtd")
    (home / "labels").mkdir(parents=True)
    lists = {"train": range(40), "val": range(40, 80), "test": range(80, 120)}
    for part, numbers in lists.items():
        lines = [f"class{c:02d}/class{c:02d}_{n:04d}.jpg" for c in range(47) for n in numbers]
        (home / f"labels/{part}1.txt").write_text("\n".join(lines))
        for line in lines:
            (home / "images" / line).parent.mkdir(parents=True, exist_ok=True)
            (home / "images" / line).touch()
    train, test = (open_dataset("dtd", tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (entry.train, entry.test) == (3760, 1880)
    assert catalogue.missing("dtd", tmp_path, "train", catalogue.Selection(shots=80)) is None
    (home / "images/class46/class46_0119.jpg").unlink()
    assert "1 of 1880 listed test images of dtd are missing" in catalogue.missing("dtd", tmp_path, "test")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_any_mode_becomes_rgb_as_pillow_converts_it(mode, tmp_path):
    gradient = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    image = gradient.convert(mode)
    path = tmp_path / "image.jpg"
    image.save(path, format="TIFF" if mode == "CMYK" else "PNG")
    with Image.open(path) as reference:
        assert open_rgb(path).tobytes() == reference.convert("RGB").tobytes()


def test_16_bits_are_scaled_to_8_and_32_are_refused(tmp_path):
    values = np.array([[0, 128, 129, 257, 5000, 65535]], dtype=np.uint16)
    for name in ("x.png", "x.tif"):
        Image.fromarray(values).save(tmp_path / name)
        pixels = np.asarray(open_rgb(tmp_path / name))
        assert (pixels == np.rint(values / 257)[..., None]).all()
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match="32 bits"):
        open_rgb(tmp_path / "x.tiff")


def test_palette_with_transparency_gives_no_warning(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "x.jpg", format="PNG", transparency=b"\x00\x80")
    assert open_rgb(tmp_path / "x.jpg").getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"no image", "cannot identify"),
        (b"\xff\xd8\xff\xe0 half", ""),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
            "Git LFS pointer: git lfs pull",
        ),
    ],
)
def test_a_file_that_is_not_an_image_is_named_with_what_it_is(content, reason, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.jpg cannot be read as an image \(.*{reason}"):
        open_rgb(tmp_path / "bad.jpg")
