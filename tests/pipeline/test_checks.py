"""What is refused before anything runs: sigma, classes, a plateau without images."""

import dataclasses
from contextlib import nullcontext

import pytest

from planned import checkpoint, evaluation_of, set_field
from robust_transfer.cli.train import main as train
from robust_transfer.core.errors import CheckpointError, ConfigError, EvaluationError
from robust_transfer.pipeline.checks import check_devices, check_kept_head
from robust_transfer.pipeline.inputs import dataset_metadata, training_stages
from robust_transfer.pipeline.plan import plan_evaluation, plan_training
from robust_transfer.pipeline.stage import DatasetMetadata
from tiny_runs import composed


def test_another_sigma_than_the_trainings_is_refused_unless_asked_for(base):
    config = set_field(base, "certify.sigma", 0.25)
    with pytest.raises(EvaluationError, match=r"certify.sigma=0.25 but the model is trained at sigma=0.5"):
        training_stages(config)
    stages = training_stages(set_field(config, "certify.allow_sigma_mismatch", True))
    assert stages[-1].marks == ("sigma mismatch",) and stages[-2].marks == ()


def test_a_named_evaluator_refuses_the_mismatch_that_auto_marks():
    config = composed("pretrain=none", "finetune=st", "dataset=digits")
    assert training_stages(config)[-1].marks == ("sigma mismatch",)
    with pytest.raises(EvaluationError, match="trained at sigma=0"):
        training_stages(set_field(config, "evaluators", ["certify"]))


def test_sigma_zero_is_the_plain_classifier_and_needs_no_leave(base):
    assert training_stages(set_field(base, "certify.sigma", 0.0))[-1].marks == ()


def test_an_unknown_training_sigma_is_no_mismatch(base):
    target = dataset_metadata(base.dataset, base.budget, base.data)
    config = evaluation_of(base, ["certify"])
    for sigma, refused in ((None, False), (0.5, False), (0.25, True), (0.0, True)):
        metadata = checkpoint(train_sigma=sigma)
        if refused:
            with pytest.raises(EvaluationError, match=r"certify\.sigma=0\.5"):
                plan_evaluation(config, target=target, checkpoint=metadata)
        else:
            assert plan_evaluation(config, target=target, checkpoint=metadata)[0].marks == ()


def test_a_head_of_another_size_is_refused(base):
    target = dataset_metadata(base.dataset, base.budget, base.data)
    with pytest.raises(CheckpointError, match=r"head has 37 classes \(expected 10, as dataset 'digits'\)"):
        plan_evaluation(evaluation_of(base, ["clean"]), target=target, checkpoint=checkpoint(num_classes=37))


@pytest.mark.parametrize(("loss", "least"), [("ce", 0), ("dlr", 3), ("dlr_targeted", 4)])
def test_dlr_needs_enough_classes(attacked, loss, least):
    config = set_field(set_field(attacked, "autopgd.loss", loss), "evaluators", ["autopgd"])
    source = dataset_metadata(config.source, config.budget, config.data)
    for classes in (2, 3, 4, None):
        target = DatasetMetadata({"name": "x"}, {"name": "x"}, classes)
        if classes is not None and classes < least:
            with pytest.raises(ConfigError, match=f"{loss} needs at least {least} classes .found {classes}"):
                plan_training(config, source=source, target=target)
        else:
            assert len(plan_training(config, source=source, target=target)) == 3


def test_a_plateau_needs_images_to_measure_on():
    config = composed("pretrain=none", "finetune=at", "dataset=pets", "finetune.schedule=plateau")
    with pytest.raises(ConfigError, match=r"dataset.validation_fraction is 0") as caught:
        training_stages(config)
    assert caught.value.hints == ("dataset.validation_fraction=0.1",)
    held_out = training_stages(set_field(config, "dataset.validation_fraction", 0.1))
    assert held_out[0].marks == ()
    leak = training_stages(set_field(config, "finetune.schedule.select_on", "test"))
    assert leak[0].marks == leak[1].marks == ("selected on test",)
    source = composed("pretrain=at", "finetune=at", "dataset=pets", "pretrain.schedule=plateau")
    with pytest.raises(ConfigError, match=r"source.validation_fraction is 0"):
        training_stages(source)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["runtime.devices=3"], "a batch of 32 images is not divisible by 3 devices"),
        (["runtime.devices=8", "finetune.micro_batch=4"], "a micro-batch of 4 images is not divisible by 8"),
        (["runtime.devices=4", "finetune.micro_batch=4"], None),
        (["runtime.devices=auto"], None),
        (["runtime.devices=3", "finetune.batch_size=33"], None),
    ],
)
def test_devices_that_do_not_divide_a_batch_are_refused_without_torch(words, what):
    config = composed("pretrain=none", "finetune=cr", "dataset=pets", *words)
    stages = training_stages(config)
    if what is None:
        check_devices(stages, config.runtime)
        return
    with pytest.raises(ConfigError, match=what):
        check_devices(stages, config.runtime)


def test_the_plan_refuses_such_devices_too(tmp_path, capsys):
    words = ["--plan", "pretrain=none", "finetune=cr", "dataset=digits", "runtime.devices=3"]
    assert train([*words, f"store={tmp_path}"]) == 2
    assert "not divisible by 3 devices" in capsys.readouterr().err


def test_a_head_that_is_not_there_or_does_not_fit_is_not_kept():
    config = composed("pretrain=none", "finetune=at", "dataset=pets", "finetune.keep_head=true")
    with pytest.raises(ConfigError, match="keeps no head of pretrain=none"):
        training_stages(config)
    metadata = dataset_metadata(config.dataset, config.budget, config.data)
    for classes in (37, 10):
        parent = dataclasses.replace(checkpoint(), num_classes=classes)
        with pytest.raises(ConfigError, match="has 10 classes") if classes == 10 else nullcontext():
            check_kept_head(config.finetune, parent, metadata)
