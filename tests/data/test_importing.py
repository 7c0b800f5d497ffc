"""Sets that lie in other layouts: class folders, doubled folders, archives, parquet."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from replicas import BUILDERS
from robust_transfer.core.errors import DataError
from robust_transfer.data import open_dataset
from robust_transfer.data.importing import Item, best_match, import_set

IMAGES = {
    "cars": ["stanford_cars/cars_train", "stanford_cars/cars_test"],
    "food101": ["food-101/images"],
    "aircraft": ["fgvc-aircraft-2013b/data/images"],
    "dtd": ["dtd/dtd/images"],
    "pets": ["oxford-iiit-pet/images"],
    "flowers102": ["flowers-102/jpg"],
    "sun397": ["SUN397/a", "SUN397/b"],
}


def opened(name, root):
    return {split: open_dataset(name, root, split, verify=False) for split in ("train", "test")}


def content(datasets):
    return {
        (split, path): np.asarray(dataset[i][0]).tobytes()
        for split, dataset in datasets.items()
        for i, path in enumerate(dataset.paths)
    }


@pytest.fixture(params=list(IMAGES))
def as_class_folders(request, tmp_path):
    """A set whose lists are in place, and whose images lie in class folders of train/ and test/ elsewhere."""
    name, root, origin = request.param, tmp_path / "data", tmp_path / "there"
    BUILDERS[name](root)
    before = content(datasets := opened(name, root))
    for split, dataset in datasets.items():
        for path, label in zip(dataset.paths, dataset.labels, strict=True):
            folder = origin / split / dataset.class_names[label].replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, folder / Path(path).name)
    for folder in IMAGES[name]:
        shutil.rmtree(root / folder)
    return name, root, origin, before


@pytest.mark.parametrize("copy", [False, True])
def test_class_folders_are_laid_out_by_their_file_names(as_class_folders, copy):
    name, root, origin, before = as_class_folders
    with pytest.raises(DataError, match="none of the"):
        opened(name, root)
    import_set(name, root, origin, copy=copy)
    datasets = opened(name, root)
    assert content(datasets) == before
    assert all((root / path).is_symlink() != copy for path in datasets["train"].paths)


@pytest.mark.parametrize("name", ["food101", "caltech101", "caltech256", "pets", "tiny_imagenet", "cifar10"])
def test_a_copy_with_folders_too_many_is_found(name, tmp_path):
    BUILDERS[name](tmp_path / "there/again/and/again")
    before = content(opened(name, tmp_path / "there/again/and/again"))
    import_set(name, tmp_path / "data", tmp_path / "there/again/and")
    assert content(opened(name, tmp_path / "data")) == before
    with pytest.raises(DataError, match="is there already"):
        import_set(name, tmp_path / "data", tmp_path / "there/again/and")


def test_what_matches_nothing_is_counted_and_named(tmp_path, caplog):
    caplog.set_level("INFO")
    root, origin = tmp_path / "data", tmp_path / "there"
    BUILDERS["pets"](root)
    shutil.move(root / "oxford-iiit-pet/images", origin / "images")
    Image.new("RGB", (4, 4)).save(origin / "stranger.png")
    import_set("pets", root, origin)
    assert "15 of 15 listed images that were absent are laid out" in caplog.messages[0]
    assert caplog.messages[1] == "pets: 1 other images match nothing in its lists: stranger.png ..."
    with pytest.raises(DataError, match="none of the 0 images has the name"):
        (root / "oxford-iiit-pet/images/Bengal_1.jpg").unlink()
        (tmp_path / "empty").mkdir()
        import_set("pets", root, tmp_path / "empty")


def test_a_file_of_the_other_split_or_one_of_two_alike_is_not_taken():
    items = [Item(("train", "a", "1.jpg")), Item(("test", "b", "1.jpg"))]
    assert best_match("x/cars_test/1.jpg", "test", "c", items) is items[1]
    assert best_match("x/cars_train/1.jpg", "train", "c", items[::-1]) is items[0]
    alike = [Item(("race car", "1.jpg")), Item(("Big_car", "1.jpg"))]
    assert best_match("x/1.jpg", "train", "car", alike) is None
    assert best_match("x/1.jpg", "train", "Big Car", alike) is alike[1]
    assert best_match("images/race car/1.jpg", "train", "car", alike) is alike[0]
    assert best_match("x/1.jpg", "train", "car", []) is None


def test_class_folders_of_cifar_become_batches_that_are_not_the_published(tmp_path):
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    drawn = np.random.default_rng(0)
    pixels = {}
    for split, number in (("train", 7), ("test", 1)):
        for name in names:
            for i in range(number):
                pixels[split, name, i] = drawn.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                folder = tmp_path / "there" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels[split, name, i]).save(folder / f"{i}.png")
    import_set("cifar10", tmp_path, tmp_path / "there")
    for split, dataset in opened("cifar10", tmp_path).items():
        ours = sorted((dataset.class_names[label], np.asarray(image).tobytes()) for image, label in dataset)
        assert ours == sorted(
            (name, one.tobytes()) for (part, name, _), one in pixels.items() if part == split
        )
    with pytest.raises(DataError, match="is not the published file"):
        open_dataset("cifar10", tmp_path, "train")
    shutil.rmtree(tmp_path / "there/train/truck")
    shutil.rmtree(tmp_path / "there/test/truck")
    with pytest.raises(DataError, match="class folders of cifar10 are airplane"):
        import_set("cifar10", tmp_path / "other", tmp_path / "there")


@pytest.fixture
def write_table():
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def write(path, rows, names):
        """Write rows of (image bytes, path, label) as the hub's library does."""
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = pa.table(
            {
                "image": [{"bytes": content, "path": name} for content, name, _ in rows],
                "label": [label for _, _, label in rows],
            }
        ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        if path.suffix == ".parquet":
            pq.write_table(table, path, row_group_size=3)
            return
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)

    return write


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_tables_are_laid_out_by_the_paths_of_their_images(suffix, tmp_path, write_table):
    root, origin = tmp_path / "data", tmp_path / "there"
    origin.mkdir()
    BUILDERS["pets"](root)
    before = content(datasets := opened("pets", root))
    for split, dataset in datasets.items():
        rows = [
            ((root / path).read_bytes(), Path(path).name, label)
            for path, label in zip(dataset.paths, dataset.labels, strict=True)
        ]
        write_table(origin / f"{split}-00000-of-00001.{suffix}", rows, dataset.class_names)
    shutil.rmtree(root / "oxford-iiit-pet/images")
    import_set("pets", root, origin)
    assert content(opened("pets", root)) == before


def test_a_table_of_cifar_needs_no_paths(tmp_path, write_table):
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 8, 7)).save(stream, format="PNG")
    for split in ("train", "test"):
        rows = [(stream.getvalue(), None, label) for label in range(10) for _ in range(5)]
        write_table(tmp_path / f"{split}-00000-of-00001.parquet", rows, names)
    import_set("cifar10", tmp_path / "data", tmp_path)
    assert [len(dataset) for dataset in opened("cifar10", tmp_path / "data").values()] == [50, 50]


def test_an_archive_is_taken_by_its_md5_or_refused(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"not the archive")
    with pytest.raises(DataError, match="is not an archive of pets"):
        import_set("pets", tmp_path, tmp_path / "x.tar.gz")
    with pytest.raises(DataError, match="does not exist"):
        import_set("pets", tmp_path, tmp_path / "y")
    with pytest.raises(DataError, match="no files of its own"):
        import_set("digits", tmp_path, tmp_path)


REAL = os.environ.get("RT_REAL_DATA")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="RT_REAL_DATA names no folder with cifar10-jpeg.tar")
def test_real_class_folders_of_cifar(tmp_path):
    shutil.unpack_archive(Path(REAL) / "cifar10-jpeg.tar", tmp_path / "there")
    import_set("cifar10", tmp_path, tmp_path / "there")
    sizes = {split: len(dataset) for split, dataset in opened("cifar10", tmp_path).items()}
    assert sizes == {"train": 25_000, "test": 5_000}
    train = open_dataset("cifar10", tmp_path, "train", verify=False)
    expected = Image.open(tmp_path / "there/cifar10-jpeg/train/airplane/0000.jpg").convert("RGB")
    assert np.asarray(train[0][0]).tobytes() == np.asarray(expected).tobytes() and train.labels[0] == 0
