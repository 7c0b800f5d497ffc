"""Keys of stages: what changes one, and what does not."""

import dataclasses
import hashlib
import json
import typing
from pathlib import Path

import pytest

from planned import BASE, keys, set_field
from robust_transfer.pipeline.inputs import training_stages
from tiny_runs import composed

KINDS = ("pretrain", "finetune", "eval")


def other_value(owner, field):
    """Return another value of the field's type."""
    value, choices = getattr(owner, field.name), field.metadata["choices"]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str) and choices:
        return next((c for c in choices if c != value), 2)
    if isinstance(value, int):
        return value + (100 if value and value % 100 == 0 else 1)  # n and n0 are multiples of 100
    if isinstance(value, float):
        return value * 0.5 + 0.013
    if isinstance(value, list):
        return [*value, 0.75]
    hints = typing.get_args(typing.get_type_hints(type(owner))[field.name])
    return 7 if int in hints else 0.07 if float in hints else "other"


def leaves(config, path):
    """Yield (dotted path, other value, identity) of every field below a node of the configuration."""
    node = config
    for name in path.split("."):
        node = getattr(node, name)
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(config, f"{path}.{field.name}")
        elif field.name != "name":
            yield f"{path}.{field.name}", other_value(node, field), field.metadata["identity"]


# The first stage whose key a node of the configuration is part of: 0 pretrain, 1 finetune, 2 evaluation.
FIRST = {"pretrain": 0, "finetune": 1, "certify": 2, "model": 0}


@pytest.mark.parametrize("node", FIRST)
def test_every_identity_field_changes_the_keys_from_its_stage_on_and_no_other_field_does(base, node):
    base = set_field(base, "certify.allow_sigma_mismatch", True)
    base.model.width = 32
    before, seen = keys(base), 0
    for path, value, is_identity in leaves(base, node):
        same = [a == b for a, b in zip(keys(set_field(base, path, value)), before, strict=True)]
        assert same == ([n < FIRST[node] for n in range(3)] if is_identity else [True] * 3), path
        seen += 1
    assert seen >= 4


@pytest.mark.parametrize("node", ["finetune", "pgd", "autopgd"])
def test_fields_of_attacks_too(attacked, node):
    before = keys(attacked)
    own = {"finetune": [1, 2, 3], "pgd": [2], "autopgd": [3]}[node]
    for path, value, is_identity in leaves(attacked, node):
        after = keys(set_field(attacked, path, value))
        changed = [n for n in range(4) if after[n] != before[n]]
        assert changed == (own if is_identity else []), path


def test_every_field_of_simclr_and_st_linear(attacked):
    config = composed("pretrain=simclr", "finetune=st_linear", "dataset=pets", "until=finetune")
    before = keys(config)
    for node in ("pretrain", "finetune"):
        for path, value, is_identity in leaves(config, node):
            after = keys(set_field(config, path, value))
            same = [a == b for a, b in zip(after, before, strict=True)]
            assert same == ([node == "finetune", False] if is_identity else [True, True]), path


@pytest.mark.parametrize("node", ["runtime", "data"])
def test_the_machine_is_in_no_key(base, node):
    before = keys(base)
    for path, value, _ in leaves(base, node):
        assert keys(set_field(base, path, value)) == before, path


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


def test_a_recipe_version_changes_the_key(base, monkeypatch):
    before = keys(base)
    monkeypatch.setattr(type(base.certify), "recipe_version", 2)
    assert keys(base)[:2] == before[:2] and keys(base)[2] != before[2]
    monkeypatch.setattr(type(base.finetune), "recipe_version", 2)  # CR is the pre-training as well
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
    ("pretrain=simclr", "finetune=cr", "dataset=pets"): ["561bcafdb5b1", "72305e4a5574", "c6797dfd4104"],
    ("pretrain=none", "finetune=at", "dataset=cifar10", "seed=2", "dataset.train_fraction=0.1"): [
        "bf2b0f27a787",
        "a36c510d2144",
    ],
}


@pytest.mark.parametrize("overrides", GOLDEN)
def test_keys_of_shipped_recipes_stay(overrides):
    # A change here means that finished stages of every store are computed again: raise a recipe's version,
    # or change a default, on purpose only.
    assert [key[:12] for key in keys(composed(*overrides))] == GOLDEN[overrides]
