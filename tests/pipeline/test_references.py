"""Frozen models that a method reads: found before anything runs, in the key, loaded for the training."""

import dataclasses

import pytest
import torch

from planned import set_field
from robust_transfer.core import named
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.pipeline.run import execute
from tiny_runs import composed, tiny
from toy_methods import Taught, TaughtConfig


def run(config, store):
    stages = training_stages(config)
    return stages, execute(stages, store, data=config.data, runtime=config.runtime, say=lambda line: None)


def taught(teacher, store, *more):
    config = composed(*tiny("st", "st", store, "until=finetune", *more))
    values = {
        field.name: getattr(config.finetune, field.name) for field in dataclasses.fields(config.finetune)
    }
    return set_field(config, "finetune", TaughtConfig(**{**values, "name": "taught"}, teacher=str(teacher)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    for seed in (0, 1):
        run(composed(*tiny("st", "st", root, "until=finetune", f"seed={seed}")), root)
    return root


@pytest.fixture
def teachers(store):
    return sorted((store / "finetune").glob("st-*"))


def test_one_stage_named_in_three_ways_gives_one_key_and_another_stage_another(store, teachers):
    first, second = teachers
    names = [first, first.name.rsplit("-", 1)[1], first / "model.safetensors"]
    keys = {training_stages(taught(name, store))[-1].key for name in names}
    assert len(keys) == 1
    assert training_stages(taught(second, store))[-1].key not in keys
    stage = training_stages(taught(first, store))[-1]
    assert stage.identity["references"] == {
        "teacher": stage.references["teacher"].key,
        "start": stage.parent.key,
    }


def test_what_cannot_be_a_reference_is_refused_when_it_is_planned(store, teachers, tmp_path):
    with pytest.raises(CheckpointError, match="reference=nowhere is neither a stage directory"):
        training_stages(taught("nowhere", store))
    (tmp_path / "foreign.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="belongs to no stage"):
        training_stages(taught(tmp_path / "foreign.pt", store))
    alone = taught(teachers[0], store)
    nothing = composed(*tiny("none", "st", store, "until=finetune")).pretrain
    with pytest.raises(ConfigError, match=r"keeps the model that it starts from \(start\)"):
        training_stages(set_field(alone, "pretrain", nothing))


def test_references_are_frozen_in_eval_mode_and_in_no_checkpoint(store, teachers, monkeypatch):
    seen, load = [], named.load
    builder = TaughtConfig.spec.builder

    def build(config):
        seen.append(Taught(config))
        return seen[-1]

    # Evaluators' settings are checked by functions that are named the same way.
    monkeypatch.setattr(named, "load", lambda name: build if name == builder else load(name))
    stages, directories = run(taught(teachers[0], store), store)
    (objective,) = seen
    for model in objective.references.values():
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not any(module.training for module in model.modules())
    state = torch.load(directories[-1].path / "last.pt", weights_only=True)["model"]
    assert all(name.startswith("backbone.") for name in state)
    assert stages[-1].references["start"] is stages[0]


def test_auto_may_measure_what_the_parent_is_trained_for(store, teachers):
    for method, expected in (("at", ["autopgd"]), ("cr", ["certify"])):
        config = set_field(taught(teachers[0], store), "until", None)
        start = composed(*tiny(method, "st", store)).pretrain
        stages = training_stages(set_field(config, "pretrain", start))
        assert [stage.identity.get("evaluator") for stage in stages] == [None, None, *expected]
