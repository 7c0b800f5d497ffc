"""Images from the cache are those of the files, bit for bit, wherever they go; and when there is none."""

from __future__ import annotations

import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from replicas import BUILDERS
from robust_transfer.core.errors import DataError
from robust_transfer.data import cache as module
from robust_transfer.data import open_dataset
from robust_transfer.data.cache import MappedImage, cached
from robust_transfer.data.loaders import training_batches
from robust_transfer.data.transforms import eval_transform, train_transform
from robust_transfer.data.views import two_views


@pytest.fixture
def photographs(tmp_path):
    """Images of several sizes and modes, in two classes."""
    drawn = np.random.default_rng(0)
    for number, (size, mode) in enumerate(
        [
            ((40, 30), "RGB"),
            ((33, 50), "L"),
            ((64, 64), "RGB"),
            ((7, 90), "CMYK"),
            ((50, 41), "RGB"),
            ((31, 31), "1"),
        ]
    ):
        pixels = Image.fromarray(drawn.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
        for split in ("train", "test"):
            file = tmp_path / split / "ab"[number % 2] / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels.save(file, format="PNG" if mode == "1" else "JPEG")
    return tmp_path


def opened(root, **options):
    return open_dataset("imagefolder", root, "train", **options)


def batches(dataset, make, num_workers=0):
    return list(
        training_batches(
            dataset,
            lambda epoch: make,
            batch_size=3,
            seed=1,
            start_step=0,
            total_steps=4,
            num_workers=num_workers,
        )
    )


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        (train_transform(16, "crop_flip"),),
        (train_transform(16, "none"),),
        (eval_transform(16),),
        two_views(16, 1.0),
        two_views(16, 1.0, "device"),
    ],
    ids=["crop_flip", "none", "test", "views", "views on device"],
)
def test_batches_are_bit_equal_with_and_without_the_cache(make, num_workers, photographs, tmp_path):
    plain = opened(photographs)
    decoded = cached(plain, tmp_path, "auto", build=True)
    assert isinstance(decoded.read(0), MappedImage)
    for one, other in zip(batches(plain, make), batches(decoded, make, num_workers), strict=True):
        assert torch.equal(one.indices, other.indices) and torch.equal(one.labels, other.labels)
        assert all(
            torch.equal(a, b) for a, b in zip(one.images + one.drawn, other.images + other.drawn, strict=True)
        )


def test_a_mapped_image_is_an_image_in_every_way(photographs, tmp_path):
    plain = opened(photographs)
    decoded = cached(plain, tmp_path, str(tmp_path / "elsewhere"), build=True)
    for position in range(len(plain)):
        a, b = plain[position][0], decoded[position][0]
        assert (a.size, a.mode, a.getpixel((2, 3))) == (b.size, b.mode, b.getpixel((2, 3)))
        for box in ((1, 2, 5, 7), (-3, -2, 5, 7), (0, 0, *a.size), (0.4, 0.6, 5.2, 6.8), None):
            assert b.crop(box).tobytes() == a.crop(box).tobytes()
            assert decoded[position][0].crop(box).tobytes() == a.crop(box).tobytes()
        assert a.resize((5, 5)).tobytes() == b.resize((5, 5)).tobytes()
        assert (np.asarray(a) == np.asarray(pickle.loads(pickle.dumps(decoded[position][0])))).all()
    changed = decoded[0][0]
    changed.putpixel((0, 0), (1, 2, 3))
    assert changed.crop((0, 0, 2, 2)).getpixel((0, 0)) == (1, 2, 3)
    again = pickle.loads(pickle.dumps(decoded))  # as a spawned worker gets it
    assert (np.asarray(again[1][0]) == np.asarray(plain[1][0])).all()


def test_another_file_decoder_or_part_of_the_set_is_another_cache(photographs, tmp_path, monkeypatch):
    folder = tmp_path / "decoded"
    cached(opened(photographs), tmp_path, "auto", build=True)
    assert cached(opened(photographs), tmp_path, "auto", build=False).reader is not None
    assert len(list(folder.glob("*.u8"))) == 1

    def is_cached(dataset):
        return cached(dataset, tmp_path, "auto", build=False) is not dataset

    assert is_cached(opened(photographs))
    assert not is_cached(opened(photographs, shots=1))
    with monkeypatch.context() as patch:
        patch.setattr(module.PIL, "__version__", "0.1")
        assert not is_cached(opened(photographs))
    file = photographs / "train/a/0.jpg"
    os.utime(file, ns=(1, 1))
    assert not is_cached(opened(photographs))
    few = cached(opened(photographs, shots=1), tmp_path, "auto", build=True)
    assert few.paths == opened(photographs, shots=1).paths
    assert all(
        (np.asarray(few[i][0]) == np.asarray(opened(photographs, shots=1)[i][0])).all() for i in range(2)
    )


def test_an_image_that_cannot_be_decoded_is_still_the_error_that_it_was(photographs, tmp_path):
    (photographs / "train/a/0.jpg").write_bytes(b"no image")
    decoded = cached(opened(photographs), tmp_path, "auto", build=True)
    with pytest.raises(DataError, match=r"train/a/0\.jpg cannot be read"):
        decoded[0]
    assert decoded[1][0].size == (64, 64)


def test_off_a_short_disk_and_sets_in_memory_have_none(photographs, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    dataset = opened(photographs)
    assert cached(dataset, tmp_path, "off", build=True) is dataset
    digits = open_dataset("digits", tmp_path, "train")
    assert cached(digits, tmp_path, "auto", build=True) is digits
    (tmp_path / "file").write_text("")
    assert cached(dataset, tmp_path, str(tmp_path / "file"), build=True) is dataset
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    assert cached(dataset, tmp_path, "auto", build=True) is dataset
    assert (
        all("decoded anew in every epoch" in message for message in caplog.messages)
        and len(caplog.messages) == 2
    )


def test_a_build_that_is_killed_leaves_no_cache(photographs, tmp_path, monkeypatch):
    dataset = opened(photographs)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            cached(dataset, tmp_path, "auto", build=True)
    assert cached(dataset, tmp_path, "auto", build=False) is dataset
    assert cached(dataset, tmp_path, "auto", build=True) is not dataset


def test_replicas_of_file_sets_are_the_same_from_the_cache(tmp_path):
    for name in ("pets", "imagenet"):
        BUILDERS[name](tmp_path)
        plain = open_dataset(name, tmp_path, "train", verify=False)
        decoded = cached(plain, tmp_path, "auto", build=True)
        assert decoded is not plain and decoded.fingerprint() == plain.fingerprint()
        for i in range(len(plain)):
            assert (np.asarray(plain[i][0]) == np.asarray(decoded[i][0])).all()
