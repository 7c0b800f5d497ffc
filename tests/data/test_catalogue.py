"""The catalogue against torchvision's constants, and what enters a key."""

from __future__ import annotations

import inspect
import json

import pytest
import torchvision.datasets as tv

from replicas import BUILDERS, write_image
from robust_transfer.core.errors import ConfigError, DataError
from robust_transfer.data import catalogue
from robust_transfer.data.sources.flowers102 import CLASS_NAMES

STUDY = "food101 cifar10 cifar100 birdsnap sun397 caltech256 cars aircraft dtd pets caltech101 flowers102"
INSIDE_PACKAGES = ["digits", "faces", "textures", "mnist5k"]
NAMES = [*STUDY.split(), "imagenet", "imagefolder", *INSIDE_PACKAGES]
MEAN_PER_CLASS = {"aircraft", "pets", "caltech101", "caltech256", "flowers102"}


def test_names_and_metrics_of_the_study():
    assert list(catalogue.NAMES) == NAMES
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
    elsewhere = {"birdsnap", "cars", "aircraft"}  # torchvision knows no checksum of theirs
    for name in set(NAMES) - elsewhere:
        entry = catalogue.get(name)
        for archive in entry.archives:
            if archive.file != "Partitions.zip":
                assert archive.md5 in sources, archive
                assert archive.url is None or archive.url.rpartition("/")[2] in sources
        assert all(md5 in sources for _, md5 in entry.file_md5)


def test_flower_names_are_torchvisions():
    assert " ".join(CLASS_NAMES.split()).split(", ") == tv.Flowers102.classes


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError) as caught:
        catalogue.get("flower102")
    assert caught.value.hints == ("did you mean 'flowers102'?",)


def test_a_key_holds_what_changes_the_images_and_nothing_else():
    base = catalogue.identity("dtd")
    assert base == catalogue.identity("dtd", partition=1, split_seed=5)  # a seed that draws nothing
    changed = [
        catalogue.identity("dtd", partition=2),
        catalogue.identity("dtd", shots=5),
        catalogue.identity("dtd", shots=5, split_seed=1),
        catalogue.identity("dtd", train_fraction=0.5),
        catalogue.identity("dtd", validation_fraction=0.1),
        catalogue.identity("dtd", generated=64),
        catalogue.identity("pets"),
    ]
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
        catalogue.identity(name, partition=partition)


def test_missing_says_what_and_where_it_goes(tmp_path):
    for name in set(NAMES) - {*INSIDE_PACKAGES, "imagefolder"}:
        lack = catalogue.missing(name, tmp_path, "train")
        assert lack and "\n" not in lack and str(tmp_path) in lack and catalogue.get(name).layout in lack
        assert catalogue.missing(name, tmp_path, "train", generated=32) is None
    assert catalogue.missing("digits", tmp_path, "test") is None
    assert "has no test split" in catalogue.missing("mnist5k", tmp_path, "test")
    assert "shots=500, but class" in catalogue.missing("digits", tmp_path, "train", shots=500)
    assert catalogue.missing("digits", tmp_path, "test", shots=500) is None
