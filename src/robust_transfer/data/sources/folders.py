"""Sets of class folders: a user's own (imagefolder), ImageNet, Tiny ImageNet."""

from __future__ import annotations

from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import (
    IMAGE_SUFFIXES,
    Listing,
    class_folders,
    file_listing,
    images_in,
    listed_files,
)
from robust_transfer.data.lists import read_lines
from robust_transfer.data.trees import files_below

TEST_PARTS = ("test", "val", "valid")


def imagefolder(home: Path, split: str) -> Listing:
    """List a user's own folder: train/ and test/ (or val/, valid/), one folder per class inside.

    The classes are those of train/, sorted by code point; where there is no train/, those of the test part.
    """
    part = next((name for name in TEST_PARTS if (home / name).is_dir()), None)
    classes = "train" if (home / "train").is_dir() else part
    if split == "train":
        return folder_listing(home, "train", "train")
    if part is None or classes is None:
        raise DataError(f"{home} has no test part (expected a folder test/, val/ or valid/)")
    return folder_listing(home, classes, part)


def imagenet(home: Path, split: str) -> Listing:
    """List ImageNet: train/ and val/, one folder per WordNet id.

    torchvision's class wants the devkit or meta.bin beside it, which are not needed.
    """
    if split == "train":
        return folder_listing(home, "train", "train")
    if loose := next(home.glob("val/*.JPEG"), None):
        raise DataError(
            f"{loose} lies loose in val/ (expected val/<wnid>/...)", "rt-data fetch imagenet sorts them"
        )
    return folder_listing(home, "train", "val")


def tiny_imagenet(home: Path, split: str) -> Listing:
    """List Tiny ImageNet: train/<wnid>/images, and val/images with its labels in a list.

    Its own test part has no labels, so val tests. Class ids follow the sorted WordNet ids.
    """
    wnids = sorted(read_lines(home / "wnids.txt", "the list of classes"))
    words = dict(line.split("\t", 1) for line in read_lines(home / "words.txt", "the list of class names"))
    names = [words[wnid].partition(",")[0] for wnid in wnids]
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    if split == "test":
        rows = [
            line.split("\t")
            for line in read_lines(home / "val" / "val_annotations.txt", "the list of val images")
        ]
        return listed_files(
            home, "val/images", names, [(f"val/images/{file}", label_of[wnid]) for file, wnid, *_ in rows]
        )
    folders = class_folders(home / "train", "the folder of training images")
    items = [
        (f"train/{wnid}/images/{file}", label_of[wnid])
        for wnid in folders
        for file in images_in(home / "train" / wnid / "images")
    ]
    return file_listing(home, names, items)


def folder_listing(home: Path, classes_of: str, part: str) -> Listing:
    """List home/part with the class ids of home/classes_of (its folders, sorted by code point)."""
    classes = class_folders(home / classes_of, "the folder of training images")
    label_of = {name: label for label, name in enumerate(classes)}
    if not classes:
        raise DataError(f"{home / classes_of} holds no class folders (expected one folder per class)")
    extra = [name for name in class_folders(home / part, "the folder of images") if name not in label_of]
    if extra:
        raise DataError(f"{home / part} has classes that {classes_of}/ lacks: {', '.join(extra[:5])}")
    items = [
        (file, label_of[name])
        for file in files_below(home, part)
        if (name := file.split("/")[1]) in label_of and _is_image(file)
    ]
    if part == classes_of and (empty := set(label_of.values()) - {label for _, label in items}):
        raise DataError(f"{home / part / classes[min(empty)]} holds no images (expected at least one)")
    return file_listing(home, classes, items)


def _is_image(file: str) -> bool:
    name = file.rpartition("/")[2]
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
