"""What a run says of data that are there in part: tags of its stages, counts, names of its own sets."""

from __future__ import annotations

import pytest

from replicas import BUILDERS
from robust_transfer.core.errors import ConfigError
from robust_transfer.pipeline.inputs import training_stages
from tiny_runs import composed


def stages(root, *overrides):
    return training_stages(composed("pretrain=none", "finetune=cr", f"data.root={root}", *overrides))


def test_a_part_is_tagged_by_split_and_counted(tmp_path):
    BUILDERS["pets"](tmp_path)
    finetune, evaluation = stages(tmp_path, "dataset=pets", "data.verify=false")
    assert finetune.marks == ("data not verified", "pets train 9 of 3,680")
    assert evaluation.marks == (*finetune.marks, "pets test 6 of 3,669")
    assert evaluation.images == {"train": (9, 3680), "test": (6, 3669)}


def test_the_key_of_a_part_is_that_of_the_whole(tmp_path):
    BUILDERS["pets"](tmp_path)
    part = stages(tmp_path, "dataset=pets", "data.verify=false")
    whole = stages(tmp_path / "nowhere", "dataset=pets")
    assert [stage.key for stage in part] == [stage.key for stage in whole]
    assert whole[0].marks == () and whole[0].images == {"train": (3680, 3680), "test": (3669, 3669)}


def test_a_folder_of_ones_own_is_a_row_under_its_label(tmp_path):
    BUILDERS["imagefolder"](tmp_path)
    own = ("dataset=imagefolder", f"dataset.root={tmp_path}")
    named = stages(tmp_path, *own, "dataset.label=apes")
    assert named[0].lineage.dataset == "apes" and "-apes-" in named[0].label
    assert [one.key for one in named] == [one.key for one in stages(tmp_path, *own)]
    assert named[1].images == {"train": (7, 7), "test": (6, 6)} and named[1].marks == ()
    for override, message in {
        "dataset.label=pets": "is the name of a set of the catalogue",
        "dataset.label=a-b": "letters, digits and underscores",
    }.items():
        with pytest.raises(ConfigError, match=message):
            stages(tmp_path, *own, override)
    with pytest.raises(ConfigError, match="label is for your own folder"):
        stages(tmp_path, "dataset=digits", "dataset.label=mine")


def test_tiny_imagenet_is_a_source(tmp_path):
    BUILDERS["tiny_imagenet"](tmp_path)
    config = composed(
        "pretrain=st", "source=tiny_imagenet", "until=pretrain", f"data.root={tmp_path}", "data.verify=false"
    )
    (stage,) = training_stages(config)
    assert stage.lineage.source == "tiny_imagenet"
    assert "tiny_imagenet train 6 of 100,000" in stage.marks
