"""Plans: which stages there are, with which marks."""

import dataclasses
from pathlib import Path

import pytest

from planned import BASE, checkpoint, evaluation_of, keys, set_field
from robust_transfer.config.methods import CheckpointConfig
from robust_transfer.config.runtime import BudgetConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.pipeline.inputs import dataset_metadata, training_stages
from robust_transfer.pipeline.plan import plan_evaluation, plan_training
from tiny_runs import composed


@pytest.mark.parametrize(
    ("finetune", "expected"),
    [
        ("at", ["autopgd"]),
        ("cr", ["certify"]),
        ("st", ["autopgd", "certify"]),
        ("st_linear", ["autopgd", "certify"]),
    ],
)
def test_auto_measures_a_method_by_what_it_is_trained_for(finetune, expected):
    config = composed("pretrain=none", f"finetune={finetune}", "dataset=pets")
    stages = training_stages(config)
    assert [stage.identity.get("evaluator") for stage in stages] == [None, *expected]
    marked = [stage.marks for stage in stages if stage.identity.get("evaluator") == "certify"]
    assert marked == [("sigma mismatch",) if finetune != "cr" else () for _ in marked]


def test_the_linear_probe_to_expect_of_a_pre_training_is_in_the_lineage_of_all_that_follows():
    config = composed("pretrain=simclr", "finetune=st_linear", "dataset=imagenet", "evaluators=[clean]")
    name = "pretrain_expected_linear_probe"
    assert [getattr(stage.lineage, name) for stage in training_stages(config)] == [64.5] * 3
    unknown = training_stages(set_field(config, "pretrain.expected_linear_probe", None))
    assert not any(getattr(stage.lineage, name) for stage in unknown)
    assert [stage.key for stage in unknown] == keys(config)


@pytest.mark.parametrize(("until", "number"), [("pretrain", 1), ("finetune", 2), (None, 3)])
def test_until_cuts_the_plan(base, until, number):
    assert keys(set_field(base, "until", until)) == keys(base)[:number]


def test_until_pretrain_needs_no_target_and_something_to_run():
    config = composed("pretrain=cr", "source=mnist5k", "until=pretrain")
    assert len(training_stages(config)) == 1
    with pytest.raises(ConfigError, match="leaves nothing to run"):
        training_stages(composed("pretrain=none", "until=pretrain"))


def test_one_evaluator_may_be_named_without_a_list(base):
    stages = training_stages(set_field(base, "evaluators", "clean"))
    assert [stage.identity.get("evaluator") for stage in stages] == [None, None, "clean"]
    with pytest.raises(ConfigError, match="evaluators is empty"):
        training_stages(set_field(base, "evaluators", []))


def test_auto_stands_alone():
    with pytest.raises(ConfigError, match="auto"):
        training_stages(composed(*BASE, "evaluators=[auto]"))
    with pytest.raises(ConfigError, match="auto"):
        training_stages(composed(*BASE, "evaluators=[clean,auto]"))


@pytest.mark.parametrize(("augment", "changes"), [("none", False), ("crop_flip", True)])
def test_the_transform_of_the_test_images_is_in_an_evaluations_key(base, augment, changes):
    target = dataset_metadata(base.dataset, base.budget, base.data)
    plans = [
        plan_evaluation(evaluation_of(config, ["certify"]), target=target, checkpoint=checkpoint())
        for config in (base, set_field(base, "dataset.augment", augment))
    ]
    assert (plans[0][0].key != plans[1][0].key) == changes


def test_an_evaluation_by_checkpoint_has_the_key_of_the_runs_own(base):
    _, finetune, certify = training_stages(base)
    target = dataset_metadata(base.dataset, base.budget, base.data)
    metadata = checkpoint(key=finetune.key, lineage=finetune.lineage)
    (stage,) = plan_evaluation(evaluation_of(base, ["certify"]), target=target, checkpoint=metadata)
    assert stage.key == certify.key
    (other,) = plan_evaluation(evaluation_of(base, ["certify"]), target=target, checkpoint=checkpoint())
    assert other.key != certify.key


def test_marks_say_what_keeps_a_row_out_of_tables(base):
    assert [stage.marks for stage in training_stages(base)] == [(), (), ()]
    unverified = training_stages(set_field(base, "data.verify", False))
    assert [stage.marks for stage in unverified] == [("data not verified",)] * 3
    smoke = training_stages(composed(*BASE, "budget=smoke"))
    assert [stage.marks for stage in smoke] == [("smoke",)] * 3
    assert [stage.generated for stage in smoke] == [8] * 3


def test_a_budget_has_the_keys_of_the_same_values_given_one_by_one():
    by_budget = composed(*BASE, "budget=short", "evaluators=[certify,autopgd,clean]")
    by_hand = composed(
        *BASE,
        "evaluators=[certify,autopgd,clean]",
        "pretrain.max_steps=2000",
        "finetune.max_steps=2000",
        "certify.n=10000",
        "autopgd.subset=500",
        "clean.subset=500",
    )
    assert keys(by_budget) == keys(by_hand)
    assert not set(keys(by_budget)) & set(keys(composed(*BASE, "evaluators=[certify,autopgd,clean]")))


def test_smoke_caps_only_steps_batch_images_and_samples():
    config = composed("pretrain=simclr", "finetune=cr", "dataset=pets", "budget=smoke")
    pretrain, finetune, certify = training_stages(config)
    assert (pretrain.config.max_steps, pretrain.config.batch_size) == (2, 4)
    assert (finetune.config.max_steps, finetune.config.batch_size) == (2, 4)
    assert (certify.config.n, certify.config.subset) == (100, 2)
    assert pretrain.model == config.model and pretrain.model.image_size == 224
    assert [stage.identity.get("data", {}).get("generated") for stage in (pretrain, finetune, certify)] == [
        8
    ] * 3
    full = training_stages(composed("pretrain=simclr", "finetune=cr", "dataset=pets"))
    assert not {s.key for s in full} & {pretrain.key, finetune.key, certify.key}


def test_a_budget_that_caps_nothing_changes_nothing(base):
    nothing = BudgetConfig("full", False, None, None, None, None, None, None)
    assert keys(dataclasses.replace(base, budget=nothing)) == keys(base)


# ---------------------------------------------------------------- pretrain=checkpoint


def test_a_checkpoint_is_keyed_by_its_content_and_not_by_its_path(base):
    target = dataset_metadata(base.dataset, base.budget, base.data)

    def planned(key, path):
        method = CheckpointConfig("checkpoint", path, None, "auto", None, False)
        config = dataclasses.replace(base, pretrain=method)
        metadata = checkpoint(key=key, path=Path(path), num_classes=1000)
        return [s.key for s in plan_training(config, source=None, target=target, checkpoint=metadata)]

    assert planned("a" * 64, "here.pt") == planned("a" * 64, "there.pt")
    assert not set(planned("a" * 64, "here.pt")) & set(planned("b" * 64, "here.pt"))
