"""Where the files of the sets come from: name, size, checksum, address, place. Facts only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file to download.

    url : None where it cannot be downloaded without an account, or its origin is gone (see Entry.origin)
    into : the folder, relative to the data root, that it is unpacked into
    holds : what it brings, relative to the data root; where that is there, it need not be got again
    """

    file: str
    size: str
    md5: str
    url: str | None
    into: str
    holds: str


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"

ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "food101": (
        Archive(
            "food-101.tar.gz",
            "5.0 GB",
            "85eeb15f3717b99a5da872d97d918f87",
            "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            "",
            "",
        ),
    ),
    "cifar10": (
        Archive(
            "cifar-10-python.tar.gz",
            "170 MB",
            "c58f30108f718f92721af3b95e74349a",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "",
            "",
        ),
    ),
    "cifar100": (
        Archive(
            "cifar-100-python.tar.gz",
            "169 MB",
            "eb9058c3a382ffc7106e4002c42a8d85",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "",
            "",
        ),
    ),
    "birdsnap": (
        Archive(
            "birdsnap.tgz",
            "lists only",
            "1788158175f6ae794aebf27bcd7a3f5d",
            "http://thomasberg.org/datasets/birdsnap/1.1/birdsnap.tgz",
            "",
            "birdsnap/species.txt",
        ),
    ),
    "sun397": (
        Archive(
            "SUN397.tar.gz",
            "39 GB",
            "8ca2778205c41d23104230ba66911c7a",
            "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
            "",
            "SUN397/ClassName.txt",
        ),
        Archive(
            "Partitions.zip",
            "9 MB",
            "29a205c0a0129d21f36cbecfefe81881",
            "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip",
            "SUN397",
            "SUN397/Training_01.txt",
        ),
    ),
    "caltech256": (
        Archive(
            "256_ObjectCategories.tar",
            "1.2 GB",
            "67b4f42ca05d46448c6bb8ecd2220f6d",
            "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
            "caltech256",
            "",
        ),
    ),
    "cars": (
        Archive(
            "cars_train.tgz",
            "0.9 GB",
            "065e5b463ae28d29e77c1b4b166cfe61",
            None,
            "stanford_cars",
            "stanford_cars/cars_train",
        ),
        Archive(
            "cars_test.tgz",
            "0.9 GB",
            "4ce7ebf6a94d07f1952d94dd34c4d501",
            None,
            "stanford_cars",
            "stanford_cars/cars_test",
        ),
        Archive(
            "car_devkit.tgz",
            "0.3 MB",
            "c3b158d763b6e2245038c8ad08e45376",
            None,
            "stanford_cars",
            "stanford_cars/devkit",
        ),
        Archive(
            "cars_test_annos_withlabels.mat",
            "0.2 MB",
            "b0a2b23655a3edd16d84508592a98d10",
            None,
            "stanford_cars",
            "stanford_cars/cars_test_annos_withlabels.mat",
        ),
    ),
    "aircraft": (
        Archive(
            "fgvc-aircraft-2013b.tar.gz",
            "2.75 GB",
            "d4acdd33327262359767eeaa97a4f732",
            f"{_OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            "",
            "",
        ),
    ),
    "dtd": (
        Archive(
            "dtd-r1.0.1.tar.gz",
            "625 MB",
            "fff73e5086ae6bdbea199a49dfb8a4c1",
            f"{_OXFORD}/dtd/download/dtd-r1.0.1.tar.gz",
            "dtd",
            "",
        ),
    ),
    "pets": (
        Archive(
            "images.tar.gz",
            "792 MB",
            "5c4f3ee8e5d25df40f4fd59a7f44e54c",
            f"{_OXFORD}/pets/data/images.tar.gz",
            "oxford-iiit-pet",
            "oxford-iiit-pet/images",
        ),
        Archive(
            "annotations.tar.gz",
            "19 MB",
            "95a8c909bbe2e81eed6a22bccdf3f68f",
            f"{_OXFORD}/pets/data/annotations.tar.gz",
            "oxford-iiit-pet",
            "oxford-iiit-pet/annotations",
        ),
    ),
    "caltech101": (
        Archive(
            "caltech-101.zip",
            "137 MB",
            "3138e1922a9193bfa496528edbbc45d0",
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            "caltech101",
            "",
        ),
    ),
    "flowers102": (
        Archive(
            "102flowers.tgz",
            "345 MB",
            "52808999861908f626f3c1f4e79d11fa",
            f"{_OXFORD}/flowers/102/102flowers.tgz",
            "flowers-102",
            "flowers-102/jpg",
        ),
        Archive(
            "imagelabels.mat",
            "1 KB",
            "e0620be6f572b9609742df49c70aed4d",
            f"{_OXFORD}/flowers/102/imagelabels.mat",
            "flowers-102",
            "flowers-102/imagelabels.mat",
        ),
        Archive(
            "setid.mat",
            "15 KB",
            "a5357ecc9cb78c4bef273ce3793fc85c",
            f"{_OXFORD}/flowers/102/setid.mat",
            "flowers-102",
            "flowers-102/setid.mat",
        ),
    ),
    "imagenet": (
        Archive(
            "ILSVRC2012_devkit_t12.tar.gz",
            "2.5 MB",
            "fa75699e90414af021442c21a62c3abf",
            None,
            "imagenet",
            "imagenet/ILSVRC2012_devkit_t12",
        ),
        Archive(
            "ILSVRC2012_img_train.tar",
            "148 GB",
            "1d675b47d978889d74fa0da5fadfb00e",
            None,
            "imagenet/train",
            "imagenet/train",
        ),
        Archive(
            "ILSVRC2012_img_val.tar",
            "6.7 GB",
            "29b22e2961454d5413ddabcf34fc5622",
            None,
            "imagenet/val",
            "imagenet/val",
        ),
    ),
}
