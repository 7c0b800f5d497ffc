"""Tiny replicas of every set in its true on-disk layout, with the odd files that the real ones have.

Each builder returns {split: [(relative path, class name), ...]} as written down while building: what a reader
must find, in no particular order. Images are single colours that encode their path, so that a mixed-up file
is seen in its pixels.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Items = dict[str, list[tuple[str, str]]]
BUILDERS: dict[str, Callable[[Path], Items]] = {}


def replica(name: str):
    def register(build: Callable[[Path], Items]) -> Callable[[Path], Items]:
        BUILDERS[name] = build
        return build

    return register


def color_of(path: str) -> tuple[int, int, int]:
    digest = hashlib.sha256(path.encode()).digest()
    return digest[0], digest[1], digest[2]


def write_image(root: Path, path: str, mode: str = "RGB", fmt: str = "JPEG") -> None:
    """One image of its path's colour; `mode` and `fmt` may contradict the suffix, as on the real disks."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (12, 9), color_of(path))
    if mode == "CMYK":
        image = image.convert("CMYK")
    elif mode == "RGBA":
        image.putalpha(128)
    elif mode == "P":
        image = image.quantize(4)
    else:
        image = image.convert(mode)
    image.save(file, format=fmt)


def write_text(root: Path, path: str, lines: list[str]) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("\n".join(lines) + "\n")


@replica("food101")
def food101(root: Path) -> Items:
    classes = {"apple_pie": "Apple pie", "baby_back_ribs": "Baby back ribs"}
    listed: Items = {"train": [], "test": []}
    meta: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for folder, name in classes.items():
        for split, numbers in (("train", (134, 21, 9001)), ("test", (77, 8))):
            stems = [f"{folder}/{number}" for number in numbers]
            meta[split][folder] = stems
            for stem in stems:
                write_image(root, f"food-101/images/{stem}.jpg")
                listed[split].append((f"food-101/images/{stem}.jpg", name))
    for split, by_class in meta.items():
        (root / "food-101/meta").mkdir(parents=True, exist_ok=True)
        (root / f"food-101/meta/{split}.json").write_text(json.dumps(by_class))
        write_text(
            root, f"food-101/meta/{split}.txt", [stem for stems in by_class.values() for stem in stems]
        )
    write_text(root, "food-101/meta/classes.txt", list(classes))
    write_text(root, "food-101/meta/labels.txt", list(classes.values()))
    write_text(root, "food-101/README.txt", ["stray"])
    return listed


def _cifar_batch(root: Path, path: str, labels: list[int], key: str) -> None:
    pixels = np.stack(
        [np.repeat(np.uint8(color_of(f"{path}/{row:05d}")), 1024) for row in range(len(labels))]
    )
    content = {"data": pixels, key: labels, "filenames": [f"{row}.png" for row in range(len(labels))]}
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(pickle.dumps(content, protocol=2))


@replica("cifar10")
def cifar10(root: Path) -> Items:
    names = ["airplane", "automobile", "bird"]
    listed: Items = {"train": [], "test": []}
    for number, batch in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        labels = [(number + row) % 3 for row in range(4)]
        _cifar_batch(root, f"cifar-10-batches-py/{batch}", labels, "labels")
        split = "test" if batch == "test_batch" else "train"
        listed[split] += [(f"cifar-10-batches-py/{batch}/{i:05d}", names[k]) for i, k in enumerate(labels)]
    (root / "cifar-10-batches-py/batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    write_text(root, "cifar-10-batches-py/readme.html", ["stray"])
    return listed


@replica("cifar100")
def cifar100(root: Path) -> Items:
    names = ["apple", "aquarium_fish"]
    listed: Items = {"train": [], "test": []}
    for split, labels in (("train", [1, 0, 1, 0, 0]), ("test", [0, 1, 1])):
        _cifar_batch(root, f"cifar-100-python/{split}", labels, "fine_labels")
        listed[split] = [(f"cifar-100-python/{split}/{i:05d}", names[k]) for i, k in enumerate(labels)]
    meta = {"fine_label_names": names, "coarse_label_names": ["fish"]}
    (root / "cifar-100-python/meta").write_bytes(pickle.dumps(meta, protocol=2))
    return listed


@replica("birdsnap")
def birdsnap(root: Path) -> Items:
    """Class 2 has lost all its images, and the order of ids is not the order of folders."""
    species = [
        ("1", "Zebra Finch", "Zebra_Finch"),
        ("2", "Blue Jay", "Blue_Jay"),
        ("3", "Abert's Towhee", "Aberts"),
    ]
    write_text(
        root,
        "birdsnap/species.txt",
        ["id\tcommon\tscientific\tdir", *(f"{i}\t{name}\tX y\t{folder}" for i, name, folder in species)],
    )
    rows, test, listed = ["url\tmd5\tpath\tspecies_id\tbb_x1"], ["path"], {"train": [], "test": []}
    for i, name, folder in species:
        for number in range(5):
            path = f"{folder}/{number}.jpg"
            rows.append(f'http://x/"{number}\tabc\t{path}\t{i}\t1')  # a quote in an address is no quoting
            split = "test" if number == 3 else "train"
            test += [path] if split == "test" else []
            if folder != "Blue_Jay" and (folder, number) != ("Aberts", 0):
                write_image(root, f"birdsnap/download/images/{path}")
                listed[split].append((f"birdsnap/download/images/{path}", name))
    write_text(root, "birdsnap/images.txt", rows)
    write_text(root, "birdsnap/test_images.txt", test)
    return listed


@replica("sun397")
def sun397(root: Path) -> Items:
    folders = ["/a/abbey", "/a/apartment_building/outdoor", "/b/bar"]
    write_text(root, "SUN397/ClassName.txt", folders)
    listed: Items = {"train": [], "test": []}
    for folder in folders:
        for i in range(5):  # sun_e is in no list of partition 1
            write_image(root, f"SUN397{folder}/sun_{'ecbad'[i]}.jpg", fmt="PNG" if i == 1 else "JPEG")
        for split, stems in (("train", "ab"), ("test", "cd")):
            listed[split] += [(f"SUN397{folder}/sun_{stem}.jpg", folder[3:]) for stem in stems]
    for split, word in (("train", "Training"), ("test", "Testing")):
        write_text(root, f"SUN397/{word}_01.txt", [path.removeprefix("SUN397") for path, _ in listed[split]])
        write_text(
            root,
            f"SUN397/{word}_02.txt",
            [f"{f}/sun_{'e' if split == 'train' else 'a'}.jpg" for f in folders],
        )
    return listed


@replica("caltech256")
def caltech256(root: Path) -> Items:
    home = "caltech256/256_ObjectCategories"
    listed: Items = {"train": [], "test": []}
    for number, name in ((1, "ak47"), (56, "dog"), (257, "clutter")):
        folder = f"{home}/{number:03d}.{name}"
        for i in range(1, 64):
            path = f"{folder}/{number:03d}_{i:04d}.jpg"
            write_image(root, path, mode="L" if i == 2 else "RGB")
            listed["train" if i <= 60 else "test"].append((path, name))
    write_image(root, f"{home}/056.dog/greg/vision309/056_9999.jpg")  # a stray folder, as in the archive
    write_text(root, f"{home}/001.ak47/RENAME2", ["stray"])
    return listed


@replica("caltech101")
def caltech101(root: Path) -> Items:
    home = "caltech101/101_ObjectCategories"
    listed: Items = {"train": [], "test": []}
    for name in ("accordion", "Faces_easy", "Faces"):
        for i in range(1, 34):
            path = f"{home}/{name}/image_{i:04d}.jpg"
            write_image(root, path, mode="L" if i == 3 else "RGB")
            listed["train" if i <= 30 else "test"].append((path, name))
    for i in range(1, 40):
        write_image(root, f"{home}/BACKGROUND_Google/image_{i:04d}.jpg")
    write_text(root, f"{home}/BACKGROUND_Google/tmp", ["stray"])
    (root / "caltech101/Annotations").mkdir()
    return listed


@replica("cars")
def cars(root: Path) -> Items:
    home, names = "stanford_cars", ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "BMW M3"]
    listed: Items = {"train": [], "test": []}
    kind = np.dtype([("bbox_x1", "O"), ("class", "O"), ("fname", "O")])
    for split, labels in (("train", [3, 1, 2, 1]), ("test", [2, 3, 1])):
        rows = np.zeros((1, len(labels)), dtype=kind)
        for i, label in enumerate(labels):
            file = f"{i + 1:05d}.jpg"
            rows[0, i] = (np.uint16(30), np.uint8(label), file)
            write_image(root, f"{home}/cars_{split}/{file}", mode="L" if i == 2 else "RGB")
            listed[split].append((f"{home}/cars_{split}/{file}", names[label - 1]))
        place = "devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
        (root / home / "devkit").mkdir(exist_ok=True)
        savemat(root / home / place, {"annotations": rows})
    savemat(root / home / "devkit/cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    return listed


@replica("aircraft")
def aircraft(root: Path) -> Items:
    home, variants = "fgvc-aircraft-2013b/data", ["707-320", "F/A-18", "Falcon 900"]
    write_text(root, f"{home}/variants.txt", variants)
    listed: Items = {"train": [], "test": []}
    for split, pairs in {
        "train": [("1200002", 0), ("0034309", 1), ("0100003", 2)],
        "val": [("0034310", 1)],
        "test": [("0100001", 2), ("0100002", 1), ("0900000", 0)],
    }.items():
        for number, label in pairs:
            write_image(root, f"{home}/images/{number}.jpg")
            part = "test" if split == "test" else "train"
            listed[part].append((f"{home}/images/{number}.jpg", variants[label]))
        write_text(root, f"{home}/images_variant_{split}.txt", [f"{n} {variants[k]}" for n, k in pairs])
    train = [f"{Path(path).stem} {name}" for path, name in listed["train"]]
    write_text(root, f"{home}/images_variant_trainval.txt", train)
    return listed


@replica("dtd")
def dtd(root: Path) -> Items:
    """Class zigzagged is in no validation list: ids must not depend on the list that is read."""
    home = "dtd/dtd"
    listed: Items = {"train": [], "test": []}
    for split, files in {
        "train": ["banded/banded_0002.jpg", "waffled/waffled_0001.jpg", "zigzagged/zigzagged_0005.jpg"],
        "val": ["waffled/waffled_0007.jpg", "waffled/waffled_0009.jpg"],
        "test": ["banded/banded_0001.jpg", "waffled/waffled_0003.jpg", "zigzagged/zigzagged_0001.jpg"],
    }.items():
        for file in files:
            write_image(root, f"{home}/images/{file}")
            part = "test" if split == "test" else "train"
            listed[part].append((f"{home}/images/{file}", file.split("/")[0]))
        write_text(root, f"{home}/labels/{split}1.txt", files)
        write_text(root, f"{home}/labels/{split}2.txt", files[:1])
    write_text(root, f"{home}/images/waffled/.directory", ["stray"])
    return listed


@replica("pets")
def pets(root: Path) -> Items:
    """Ids follow the lists, not the order of file names; some files are no JPEG inside."""
    home, odd = "oxford-iiit-pet", {1: ("P", "GIF"), 2: ("RGBA", "PNG"), 3: ("L", "JPEG")}
    breeds = {
        1: ("Abyssinian", "Abyssinian"),
        2: ("american_bulldog", "American Bulldog"),
        6: ("Bengal", "Bengal"),
    }
    listed: Items = {"train": [], "test": []}
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for label, (stem, name) in breeds.items():
        for i in range(1, 6):
            mode, fmt = odd.get(i, ("RGB", "JPEG"))
            write_image(root, f"{home}/images/{stem}_{i}.jpg", mode=mode, fmt=fmt)
            split = "trainval" if i < 4 else "test"
            lines[split].append(f"{stem}_{i} {label} 1 {label}")
            listed["train" if i < 4 else "test"].append((f"{home}/images/{stem}_{i}.jpg", name))
    for split, text in lines.items():
        write_text(root, f"{home}/annotations/{split}.txt", text)
    write_text(root, f"{home}/images/Abyssinian_100.mat", ["stray"])
    write_text(root, f"{home}/annotations/trimaps/._Abyssinian_1.png", ["stray"])
    return listed


@replica("flowers102")
def flowers102(root: Path) -> Items:
    from torchvision.datasets import Flowers102

    home, labels = "flowers-102", [3, 1, 2, 3, 1, 2, 2, 1]
    ids = {"trnid": [5, 1], "valid": [6, 3], "tstid": [8, 2, 4, 7]}
    listed: Items = {"train": [], "test": []}
    for part, numbers in ids.items():
        for number in numbers:
            path = f"{home}/jpg/image_{number:05d}.jpg"
            write_image(root, path)
            name = Flowers102.classes[labels[number - 1] - 1]
            listed["test" if part == "tstid" else "train"].append((path, name))
    savemat(root / home / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    savemat(root / home / "setid.mat", {key: np.array([value]) for key, value in ids.items()})
    return listed


def _class_folders(root: Path, home: str, parts: dict[str, str], classes: list[str], suffix: str) -> Items:
    listed: Items = {"train": [], "test": []}
    for split, part in parts.items():
        for name in classes:
            for i in (2, 10, 1):
                path = f"{home}{part}/{name}/{name}_{i}.{suffix}"
                odd = {2: ("CMYK", "JPEG"), 10: ("RGB", "PNG")}.get(i, ("RGB", "JPEG"))
                write_image(root, path, *odd)
                listed[split].append((path, name))
    return listed


@replica("imagenet")
def imagenet(root: Path) -> Items:
    """CMYK files and a PNG named .JPEG, as in the real set."""
    parts = {"train": "train", "test": "val"}
    return _class_folders(root, "imagenet/", parts, ["n01440764", "n01443537"], "JPEG")


@replica("tiny_imagenet")
def tiny_imagenet(root: Path) -> Items:
    """Ids follow the sorted WordNet ids, not the order of wnids.txt; its test part has no labels."""
    home, listed = "tiny-imagenet-200", {"train": [], "test": []}
    words = {"n02124075": "Egyptian cat", "n01443537": "goldfish"}
    write_text(root, f"{home}/wnids.txt", list(words))
    lines = [f"{wnid}\t{name}, another name" for wnid, name in words.items()]
    write_text(root, f"{home}/words.txt", [*lines, "n00001740\tentity"])
    rows = []
    for wnid, name in words.items():
        for i in range(3):
            path = f"{home}/train/{wnid}/images/{wnid}_{i}.JPEG"
            write_image(root, path, mode="L" if i == 2 else "RGB")
            listed["train"].append((path, name))
        write_text(root, f"{home}/train/{wnid}/{wnid}_boxes.txt", ["stray"])
        path = f"{home}/val/images/val_{len(rows)}.JPEG"
        write_image(root, path)
        rows.append(f"val_{len(rows)}.JPEG\t{wnid}\t0\t32\t44\t62")
        listed["test"].append((path, name))
    write_text(root, f"{home}/val/val_annotations.txt", rows)
    write_image(root, f"{home}/test/images/test_0.JPEG")
    return listed


@replica("imagefolder")
def imagefolder(root: Path) -> Items:
    listed = _class_folders(root, "", {"train": "train", "test": "val"}, ["Zoo", "ape"], "jpg")
    write_image(root, "train/ape/more/deep.PNG", fmt="PNG")
    listed["train"].append(("train/ape/more/deep.PNG", "ape"))
    write_text(root, "train/ape/notes.txt", ["stray"])
    write_text(root, "train/ape/._hidden.jpg", ["stray"])
    write_text(root, "train/README.md", ["stray"])
    return listed
