"""What runs before: a last layer (RoLI, LwF as their papers have them), and the teachers of CRT and DeACL."""

import dataclasses

import pytest
import torch

from robust_transfer.core.errors import ConfigError
from robust_transfer.models.checkpoint import load_model
from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.pipeline.run import execute
from tiny_runs import composed, tiny


def run(words, store):
    config = composed(*words, "until=finetune")
    stages = training_stages(config)
    done = execute(stages, store, data=config.data, runtime=config.runtime, say=lambda line: None)
    return [load_model(directory.path / "model.safetensors").state_dict() for directory in done], done[
        -1
    ].path


LWF_LIKE = ("finetune.lr=0.001", "finetune.weight_decay=2e-4")


def planned(*words):
    return training_stages(composed(*words, "until=finetune"))


@pytest.mark.parametrize(
    ("run", "before", "after"),
    [
        (("at", "at_roli"), ("at", "at_linear"), "at_roli"),
        (
            ("at", "lwf_after_st_linear"),
            ("at", "st_linear", "finetune.lr=0.001", "finetune.weight_decay=2e-4"),
            "lwf_after_st_linear",
        ),
        (("at", "crt", "finetune.batch_size=20"), ("at", "smoothadv", "finetune.batch_size=20"), "crt"),
        (("deacl", "st"), ("simclr", "st"), "deacl"),
    ],
)
def test_what_runs_before_is_the_stage_of_a_run_of_its_own(run, before, after, tmp_path):
    words = tiny(*run[:2], tmp_path, *run[2:])
    if after == "deacl":
        words += ["pretrain.teacher.max_steps=2", "pretrain.teacher.batch_size=10", "pretrain.seed=3"]
    stages = planned(*words)
    alone = planned(
        *tiny(*before[:2], tmp_path, *before[2:], *(["pretrain.seed=3"] if after == "deacl" else []))
    )
    kind = "pretrain" if after == "deacl" else "finetune"
    earlier, later = (stage for stage in stages if stage.kind == kind)
    assert earlier.key == next(stage.key for stage in alone if stage.kind == kind)
    assert getattr(later.lineage, kind) == after
    start = stages[0].key[:12] if kind == "finetune" else None
    assert later.lineage.pretrain_key == start and later.lineage.pretrain == run[0]
    role = "source" if run[1] == "lwf_after_st_linear" else "teacher"
    if later.config.first is not None:
        assert later.parent is earlier
    if after != "at_roli":
        assert later.references == {role: earlier} and later.identity["references"][role] == earlier.key


def test_a_teacher_has_what_runs_before_it_too(tmp_path):
    config = composed(*tiny("at", "crt", tmp_path, "until=finetune", "finetune.teacher.keep_head=true"))
    first = composed(*tiny("at", "gaussian", tmp_path)).finetune
    config.finetune.teacher["first"] = dataclasses.asdict(first)
    stages = training_stages(config)
    pretrained, first, teacher, student = stages
    assert (first.lineage.finetune, teacher.lineage.finetune) == ("gaussian", "smoothadv_after_gaussian")
    assert teacher.parent is first and first.parent is pretrained and student.parent is pretrained


def test_a_cell_of_the_miniature_is_taught_by_the_cell_beside_it():
    words = ("experiment=methods_mini", "finetune=st_linear", "seed=1", "hydra.mode=RUN")
    taught, alone = (planned(*words, f"cell=methods_mini/{name}") for name in ("deacl", "simclr"))
    assert taught[0].key == alone[0].key and taught[0].lineage.pretrain_seed == 1


@pytest.mark.parametrize("recipe", ["at_roli", "lwf_after_st_linear"])
def test_the_second_stage_begins_where_the_last_layers_stage_ended(recipe, tmp_path):
    words = tiny("at", recipe, tmp_path, "finetune.lr=1e-12", "finetune.first.lr=0.1")
    (pretrained, first, second), _ = run(words, tmp_path)
    for name, value in first.items():
        if not name.startswith("backbone.fc."):
            assert torch.equal(pretrained[name], value), name  # BatchNorm's statistics too
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(second[name], value, rtol=1e-6, atol=1e-7, msg=name)


def test_a_run_trains_its_teacher_before(tmp_path):
    states, directory = run(tiny("at", "crt", tmp_path), tmp_path)
    assert len(states) == 3 and (directory / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("at", "at_roli", "finetune.keep_head=false"), "throws away"),
        (("at", "crt", "finetune.teacher.name=none"), "'none' is unknown"),
        (("deacl", "st", "pretrain.teacher.name=checkpoint"), "'checkpoint' is unknown"),
        (("deacl", "st", "pretrain.teacher=3"), "expected a text or a mapping of values"),
    ],
)
def test_what_cannot_run_before_is_refused(words, what, tmp_path):
    with pytest.raises(ConfigError, match=what):
        planned(*tiny(*words[:2], tmp_path, *words[2:]))
