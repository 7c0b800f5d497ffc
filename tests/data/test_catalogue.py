"""The catalogue against torchvision's constants, and what enters a key."""

from __future__ import annotations

import inspect
import json
import sys

import pytest
import torchvision.datasets as tv

from replicas import BUILDERS, write_image
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import catalogue, entries, open_dataset
from robust_transfer.data.catalogue import Selection
from robust_transfer.data.sources.matlab import FLOWER_NAMES

STUDY = "food101 cifar10 cifar100 birdsnap sun397 caltech256 cars aircraft dtd pets caltech101 flowers102"
INSIDE_PACKAGES = ["digits", "faces", "textures", "mnist5k"]
NAMES = [*STUDY.split(), "imagenet", "tiny_imagenet", "imagefolder", *INSIDE_PACKAGES]
MEAN_PER_CLASS = {"aircraft", "pets", "caltech101", "caltech256", "flowers102"}


def test_names_and_metrics_of_the_study():
    assert list(catalogue.names()) == NAMES
    assert {name for name in NAMES if catalogue.get(name).metric == "mean_per_class"} == MEAN_PER_CLASS


def test_checksums_are_those_that_torchvision_publishes():
    sources = "".join(
        inspect.getsource(module)
        for module in (
            tv.food101,
            tv.cifar,
            tv.sun397,
            tv.caltech,
            tv.dtd,
            tv.oxford_iiit_pet,
            tv.flowers102,
            tv.imagenet,
        )
    )
    # torchvision knows no checksum of theirs
    elsewhere = {"birdsnap", "cars", "aircraft", "tiny_imagenet"}
    for name in set(NAMES) - elsewhere:
        entry = catalogue.get(name)
        for archive in entry.archives:
            if archive.file != "Partitions.zip":
                assert archive.md5 in sources, archive
                assert archive.url is None or archive.url.rpartition("/")[2] in sources
        assert all(md5 in sources for _, md5 in entry.file_md5.items())


def test_flower_names_are_torchvisions():
    assert " ".join(FLOWER_NAMES.split()).split(", ") == tv.Flowers102.classes


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError) as caught:
        catalogue.get("flower102")
    assert caught.value.hints == ("did you mean 'flowers102'?",)


def test_a_key_holds_what_changes_the_images_and_nothing_else():
    base = catalogue.identity("dtd")
    assert base == catalogue.identity(
        "dtd", Selection(partition=1, split_seed=5)
    )  # a seed that draws nothing
    changed = [
        catalogue.identity("dtd", Selection(**options))
        for options in (
            {"partition": 2},
            {"shots": 5},
            {"shots": 5, "split_seed": 1},
            {"train_fraction": 0.5},
            {"validation_fraction": 0.1},
            {"generated": 64},
        )
    ] + [catalogue.identity("pets")]
    texts = {json.dumps(one, sort_keys=True) for one in [base, *changed]}
    assert len(texts) == 8


def test_key_of_a_users_folder_is_the_hash_of_its_listing(tmp_path):
    BUILDERS["imagefolder"](tmp_path)
    before = catalogue.identity("imagefolder", root=tmp_path)
    assert before == catalogue.identity("imagefolder", root=str(tmp_path))
    write_image(tmp_path, "val/ape/new.jpg")
    after = catalogue.identity("imagefolder", root=tmp_path)
    assert after != before
    with (tmp_path / "val/ape/new.jpg").open("ab") as stream:
        stream.write(b" ")
    assert catalogue.identity("imagefolder", root=tmp_path) != after
    with pytest.raises(ConfigError, match="needs its folder"):
        catalogue.identity("imagefolder")
    with pytest.raises(DataError):
        catalogue.identity("imagefolder", root=tmp_path / "nowhere")


@pytest.mark.parametrize(("name", "partition"), [("pets", 1), ("dtd", 11), ("sun397", 0)])
def test_partitions_that_do_not_exist_are_refused(name, partition):
    with pytest.raises(ConfigError, match=f"partition={partition}"):
        catalogue.identity(name, Selection(partition=partition))


def test_missing_says_what_and_where_it_goes(tmp_path):
    for name in set(NAMES) - {*INSIDE_PACKAGES, "imagefolder"}:
        line = catalogue.missing(name, tmp_path, "train")
        assert line and "\n" not in line and str(tmp_path) in line and catalogue.get(name).layout in line
        assert catalogue.missing(name, tmp_path, "train", Selection(generated=32)) is None
    assert catalogue.missing("digits", tmp_path, "test") is None
    assert "has no test split" in catalogue.missing("mnist5k", tmp_path, "test")
    assert "shots=500, but class" in catalogue.missing("digits", tmp_path, "train", Selection(shots=500))
    assert catalogue.missing("digits", tmp_path, "test", Selection(shots=500)) is None


# ------------------------------------------------------------- sets of other packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path that brings a data set: an entry point, a torch-free module, a TOML file."""
    (tmp_path / "birds.toml").write_text(
        '[twobirds]\ntitle = "Two birds"\nreader = "birds_package:two_birds"\nfolder = "birds"\n'
        'licence = "ours"\nlayout = "birds/<split>.txt"\nnum_classes = 2\ntrain = 2\ntest = 1\n'
    )
    (tmp_path / "birds_package.py").write_text(
        "from pathlib import Path\n"
        "from robust_transfer.data.listing import listed_files\n"
        "from robust_transfer.data.lists import read_lines\n"
        'CATALOGUE = Path(__file__).with_name("birds.toml")\n'
        "def two_birds(home, split):\n"
        '    lines = read_lines(home / f"{split}.txt", "the list")\n'
        '    items = [(f"images/{line}", int(line[0])) for line in lines]\n'
        '    return listed_files(home, "images", ["owl", "jay"], items)\n'
    )
    (tmp_path / "birds-1.dist-info").mkdir()
    (tmp_path / "birds-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: birds\nVersion: 1\n")
    (tmp_path / "birds-1.dist-info/entry_points.txt").write_text(
        "[robust_transfer.datasets]\nbirds = birds_package\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entries.entries.cache_clear()
    yield tmp_path
    entries.entries.cache_clear()
    sys.modules.pop("birds_package", None)


def test_a_set_of_another_package_is_known_by_its_entry_point(installed):
    for split, files in (("train", ["0.png", "1.png"]), ("test", ["1b.png"])):
        for file in files:
            write_image(installed, f"birds/images/{file}", fmt="PNG")
        (installed / f"birds/{split}.txt").write_text("\n".join(files))
    assert catalogue.names() == (*NAMES, "twobirds")
    assert catalogue.identity("twobirds") == {"name": "twobirds", "version": 1}
    assert catalogue.missing("twobirds", installed, "train") is None
    test = open_dataset("twobirds", installed, "test")
    assert (test.paths, test.labels, test.class_names) == (["birds/images/1b.png"], [1], ["owl", "jay"])
    with pytest.raises(ConfigError) as caught:
        catalogue.get("twobird")
    assert caught.value.hints == ("did you mean 'twobirds'?",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[pets]\ntitle = ""\nreader = ""\nlicence = ""\nlayout = ""',
            "the name 'pets' is taken",
        ),
        ('[x]\ntitle = ""\nreaders = ""', "data set 'x' cannot be read .*'readers'"),
        ('[x]\ntitle = ""', "data set 'x' cannot be read .*'reader', 'licence', and 'layout'"),
    ],
)
def test_an_entry_of_another_package_that_is_wrong_is_one_line(text, message, installed):
    (installed / "birds.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        catalogue.names()
