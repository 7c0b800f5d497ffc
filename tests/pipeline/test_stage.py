"""Keys of stages: what changes one, and what does not."""

import hashlib
import json
from pathlib import Path

import pytest

from planned import BASE, keys, set_field
from robust_transfer.pipeline.inputs import training_stages
from tiny_runs import composed

KINDS = ("pretrain", "finetune", "eval")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("store", "elsewhere"),
        ("label", "table2"),
        ("on_failure", "continue"),
        ("certify.batch_size", 7),
        ("dataset.root", "/data"),
        ("source.root", "/data"),
        ("budget.name", "other"),
        ("autopgd.num_steps", 7),  # of an evaluator that does not run
        ("source.split_seed", 5),  # nothing is drawn from the source
        ("source.evaluate_on", "train"),
    ],
)
def test_what_changes_no_result_changes_no_key(base, path, value):
    assert keys(set_field(base, path, value)) == keys(base)


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        ("dataset.shots", 6, [1, 2]),
        ("dataset.split_seed", 3, [1, 2]),
        ("dataset.validation_fraction", 0.2, [1, 2]),
        ("dataset.augment", "crop", [1, 2]),
        ("dataset.evaluate_on", "validation", [2]),
        ("source.shots", 6, [0, 1, 2]),
        ("source.train_fraction", 0.5, [0, 1, 2]),
        ("source.augment", "crop_flip", [0, 1, 2]),
        ("source.name", "digits", [0, 1, 2]),
        ("model.normalize", "cifar", [0, 1, 2]),
    ],
)
def test_data_and_model_change_the_stages_that_see_them(base, path, value, changed):
    after, before = keys(set_field(base, path, value)), keys(base)
    assert [n for n in range(3) if after[n] != before[n]] == changed


def test_the_seed_draws_shots_and_pre_training_is_shared_between_seeds():
    first, second = (composed(*BASE, "dataset.shots=5", f"seed={seed}") for seed in (0, 1))
    a, b = keys(first), keys(second)
    assert a[0] == b[0] and a[1] != b[1] and a[2] != b[2]
    assert (first.dataset.split_seed, second.dataset.split_seed) == (0, 1)
    assert (first.finetune.seed, second.finetune.seed) == (0, 1)
    assert composed(*BASE, "dataset.split_seed=4", "seed=1").dataset.split_seed == 4


def test_without_a_draw_the_split_seed_is_in_no_key():
    config = composed(*BASE)
    assert keys(set_field(config, "dataset.split_seed", 9)) == keys(config)


def test_batchnorm_that_is_not_synchronised_brings_the_number_of_devices_into_the_key(base):
    def with_devices(number, sync):
        return keys(set_field(set_field(base, "runtime.devices", number), "runtime.sync_batchnorm", sync))

    together = with_devices(1, True)
    assert with_devices(4, True) == together == with_devices(1, False)
    assert len({k for sync_off in (2, 4) for k in with_devices(sync_off, False)} | set(together)) == 9


def test_skipped_batches_are_another_key_and_tagged_from_the_training_on(base):
    stopping, skipping = (
        training_stages(set_field(base, "runtime.on_nonfinite", choice)) for choice in ("stop", "skip")
    )
    assert not {stage.key for stage in stopping} & {stage.key for stage in skipping}
    tag = "non-finite batches skipped"
    assert all(tag in stage.marks for stage in skipping)
    assert not any(tag in stage.marks for stage in stopping)


def test_a_recipe_version_changes_the_key(base, monkeypatch):
    before = keys(base)
    monkeypatch.setattr(type(base.evaluator_settings["certify"]), "recipe_version", 99)
    assert keys(base)[:2] == before[:2] and keys(base)[2] != before[2]
    monkeypatch.setattr(type(base.finetune), "recipe_version", 99)  # CR is the pre-training as well
    assert not set(keys(base)) & set(before)


def test_a_key_is_the_hash_of_canonical_json_and_the_parents_key(base):
    pretrain, finetune, certify = training_stages(base)
    for stage in (pretrain, finetune, certify):
        text = json.dumps(json.loads(json.dumps(stage.identity)), sort_keys=True, separators=(",", ":"))
        assert stage.key == hashlib.sha256(text.encode()).hexdigest()
    assert finetune.identity["parent"] == pretrain.key and certify.identity["parent"] == finetune.key
    assert finetune.parent is pretrain and certify.parent is finetune


def test_names_of_directories(base):
    stages = training_stages(base)
    names = [stage.directory("runs").path.relative_to("runs") for stage in stages]
    labels = ["cr-mnist5k-resnet18_small", "cr-digits-cr-resnet18_small", "certify-digits"]
    assert names == [
        Path(kind) / f"{label}-{stage.key[:12]}"
        for kind, label, stage in zip(KINDS, labels, stages, strict=True)
    ]
    assert [stage.directory("runs").key for stage in stages] == [stage.key[:12] for stage in stages]


GOLDEN = {
    ("pretrain=simclr", "finetune=cr", "dataset=pets"): ["706ca7a4069b", "01ed9b29cf1f", "7f47520d7f30"],
    ("pretrain=none", "finetune=at", "dataset=cifar10", "seed=2", "dataset.train_fraction=0.1"): [
        "32421405cb1a",
        "fbbaaa87160d",
    ],
}


@pytest.mark.parametrize("overrides", GOLDEN)
def test_keys_of_shipped_recipes_stay(overrides):
    # A change here means that finished stages of every store are computed again: raise a recipe's version,
    # or change a default, on purpose only.
    assert [key[:12] for key in keys(composed(*overrides))] == GOLDEN[overrides]
