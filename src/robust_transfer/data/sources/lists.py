"""Sets whose splits are lists in text files: Food-101, Aircraft, DTD, Pets, SUN397, Birdsnap."""

from __future__ import annotations

import csv
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data.listing import Listing, listed_files
from robust_transfer.data.lists import read_lines

BREEDS = """
Abyssinian, American Bulldog, American Pit Bull Terrier, Basset Hound, Beagle, Bengal, Birman, Bombay, Boxer,
British Shorthair, Chihuahua, Egyptian Mau, English Cocker Spaniel, English Setter, German Shorthaired, Great
Pyrenees, Havanese, Japanese Chin, Keeshond, Leonberger, Maine Coon, Miniature Pinscher, Newfoundland,
Persian, Pomeranian, Pug, Ragdoll, Russian Blue, Saint Bernard, Samoyed, Scottish Terrier, Shiba Inu, Siamese,
Sphynx, Staffordshire Bull Terrier, Wheaten Terrier, Yorkshire Terrier
"""


def food101(home: Path, split: str) -> Listing:
    """List Food-101; class ids follow classes.txt, names labels.txt. Training labels are noisy on purpose."""
    meta = home / "meta"
    label_of = _labels(read_lines(meta / "classes.txt", "the list of classes"))
    names = read_lines(meta / "labels.txt", "the list of class names")
    stems = read_lines(meta / f"{split}.txt", f"the list of {split} images")
    items = [(f"images/{stem}.jpg", label_of[stem.partition("/")[0]]) for stem in stems]
    return listed_files(home, "images", names, items)


def aircraft(home: Path, split: str) -> Listing:
    """List FGVC Aircraft at the level of variants, trainval / test; files are named by number.

    Class names hold spaces and slashes (F/A-18). The copyright banner at the bottom of an image is left on.
    """
    names = read_lines(home / "variants.txt", "the list of variants")
    label_of = _labels(names)
    part = "test" if split == "test" else "trainval"
    lines = read_lines(home / f"images_variant_{part}.txt", f"the list of {split} images")
    pairs = [line.split(" ", 1) for line in lines]
    items = [(f"images/{number}.jpg", label_of[variant]) for number, variant in pairs]
    return listed_files(home, "images", names, items)


def dtd(home: Path, split: str, partition: int) -> Listing:
    """List Describable Textures: train and val of a partition train.

    The classes are those of all three lists, whatever part is asked for.
    """
    parts = {
        part: read_lines(home / "labels" / f"{part}{partition}.txt", f"the {part} list")
        for part in ("train", "val", "test")
    }
    names = sorted({line.partition("/")[0] for lines in parts.values() for line in lines})
    label_of = _labels(names)
    lines = parts["test"] if split == "test" else parts["train"] + parts["val"]
    items = [(f"images/{line}", label_of[line.partition("/")[0]]) for line in lines]
    return listed_files(home, "images", names, items)


def pets(home: Path, split: str) -> Listing:
    """List Oxford-IIIT Pets, trainval / test; some of its .jpg files are GIF, PNG or RGBA inside.

    Class ids are those of the lists (folder order by letter would give others).
    """
    part = "test" if split == "test" else "trainval"
    breeds = " ".join(BREEDS.split()).split(", ")
    items = []
    for line in read_lines(home / "annotations" / f"{part}.txt", f"the {part} list"):
        stem, number, *_ = line.split()  # american_bulldog_12 2 2 1
        label = int(number) - 1
        if stem.rpartition("_")[0].replace("_", " ").lower() != breeds[label].lower():
            raise DataError(f"{home}/annotations/{part}.txt: '{line}' (class {number} is {breeds[label]})")
        items.append((f"images/{stem}.jpg", label))
    return listed_files(home, "images", breeds, items)


def sun397(home: Path, split: str, partition: int) -> Listing:
    """List a partition of SUN397: 50 + 50 images per class, out of 108,754.

    Nested classes keep their whole name: apartment_building/outdoor.
    """
    folders = read_lines(home / "ClassName.txt", "the list of classes")
    label_of = _labels(folders)
    list_file = home / f"{'Testing' if split == 'test' else 'Training'}_{partition:02d}.txt"
    items = []
    for line in read_lines(list_file, f"the {split} list of partition {partition} (Partitions.zip)"):
        folder = line.rpartition("/")[0]
        if folder not in label_of:
            raise DataError(f"{list_file}: '{line}' is of no class of ClassName.txt")
        items.append((line.removeprefix("/"), label_of[folder]))
    return listed_files(home, "", [folder.split("/", 2)[2] for folder in folders], items)


def birdsnap(home: Path, split: str) -> Listing:
    """List Birdsnap: test_images.txt is the test part, the rest of images.txt trains.

    Many images are no longer online, and copies differ in which they hold. So class ids come from
    species.txt, never from the folders that happen to exist.
    """
    species = _read_table(home / "species.txt", "the list of species")
    species.sort(key=lambda row: int(row["id"]))
    label_of = {int(row["id"]): label for label, row in enumerate(species)}
    test = set(read_lines(home / "test_images.txt", "the list of test images")[1:])  # after a header
    images = _read_table(home / "images.txt", "the list of images")
    items = [
        (f"download/images/{row['path']}", label_of[int(row["species_id"])])
        for row in images
        if (row["path"] in test) == (split == "test")
    ]
    return listed_files(home, "download/images", [row["common"] for row in species], items)


def _read_table(path: Path, what: str) -> list[dict[str, str]]:
    return list(csv.DictReader(read_lines(path, what), delimiter="\t", quoting=csv.QUOTE_NONE))


def _labels(names: list[str]) -> dict[str, int]:
    return {name: label for label, name in enumerate(names)}
