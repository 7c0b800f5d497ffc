"""Plans and keys: what changes a key, what does not, what is refused before anything runs."""

import copy
import dataclasses
import hashlib
import json
import typing
from pathlib import Path

import pytest

from robust_transfer.config import BudgetConfig, CheckpointConfig
from robust_transfer.errors import CheckpointError, ConfigError, EvaluationError
from robust_transfer.facts import data_facts, training_stages
from robust_transfer.plan import CheckpointFacts, DataFacts, plan_evaluation, plan_training
from tiny_runs import composed

KINDS = ("pretrain", "finetune", "eval")
BASE = ("pretrain=cr", "finetune=cr", "source=mnist5k", "dataset=digits", "model=resnet18_small")


@pytest.fixture(scope="module")
def base():
    return composed(*BASE, "dataset.shots=5", "dataset.validation_fraction=0.1")


@pytest.fixture(scope="module")
def attacked():
    return composed("pretrain=simclr", "finetune=at", "dataset=pets", "evaluators=[pgd,autopgd]")


def keys(config):
    return [stage.key for stage in training_stages(config)]


def set_field(config, path, value):
    node = changed = copy.deepcopy(config)
    *parents, name = path.split(".")
    for parent in parents:
        node = getattr(node, parent)
    setattr(node, name, value)
    return changed


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


# ---------------------------------------------------------------- what is in a key

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
        for path, value, _ in leaves(config, node):
            after = keys(set_field(config, path, value))
            assert [a == b for a, b in zip(after, before, strict=True)] == [node == "finetune", False], path


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


# ---------------------------------------------------------------- stages


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


# ---------------------------------------------------------------- sigma, classes, plateau


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
    target = data_facts(base.dataset, base.budget)
    config = evaluation_of(base, ["certify"])
    for sigma, refused in ((None, False), (0.5, False), (0.25, True), (0.0, True)):
        facts = checkpoint(train_sigma=sigma)
        if refused:
            with pytest.raises(EvaluationError, match=r"certify\.sigma=0\.5"):
                plan_evaluation(config, target=target, checkpoint=facts)
        else:
            assert plan_evaluation(config, target=target, checkpoint=facts)[0].marks == ()


def checkpoint(**changes):
    values = {"key": "f" * 64, "path": Path("model.safetensors"), "arch": "resnet18_small", "num_classes": 10}
    return CheckpointFacts(**{**values, "train_sigma": 0.5, "lineage": {"image_size": 32}, **changes})


@pytest.mark.parametrize(("augment", "changes"), [("none", False), ("crop_flip", True)])
def test_the_transform_of_the_test_images_is_in_an_evaluations_key(base, augment, changes):
    target = data_facts(base.dataset, base.budget)
    plans = [
        plan_evaluation(evaluation_of(config, ["certify"]), target=target, checkpoint=checkpoint())
        for config in (base, set_field(base, "dataset.augment", augment))
    ]
    assert (plans[0][0].key != plans[1][0].key) == changes


def evaluation_of(config, names):
    return dataclasses.replace(config, evaluators=names)


def test_an_evaluation_by_checkpoint_has_the_key_of_the_runs_own(base):
    _, finetune, certify = training_stages(base)
    target = data_facts(base.dataset, base.budget)
    facts = checkpoint(key=finetune.key, lineage={**finetune.lineage})
    (stage,) = plan_evaluation(evaluation_of(base, ["certify"]), target=target, checkpoint=facts)
    assert stage.key == certify.key
    (other,) = plan_evaluation(evaluation_of(base, ["certify"]), target=target, checkpoint=checkpoint())
    assert other.key != certify.key


def test_a_head_of_another_size_is_refused(base):
    target = data_facts(base.dataset, base.budget)
    with pytest.raises(CheckpointError, match=r"head has 37 classes \(expected 10, as dataset 'digits'\)"):
        plan_evaluation(evaluation_of(base, ["clean"]), target=target, checkpoint=checkpoint(num_classes=37))


@pytest.mark.parametrize(("loss", "least"), [("ce", 0), ("dlr", 3), ("dlr_targeted", 4)])
def test_dlr_needs_enough_classes(attacked, loss, least):
    config = set_field(set_field(attacked, "autopgd.loss", loss), "evaluators", ["autopgd"])
    source = data_facts(config.source, config.budget)
    for classes in (2, 3, 4, None):
        target = DataFacts({"name": "x"}, {"name": "x"}, classes)
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
    leak = training_stages(set_field(config, "finetune.select_on", "test"))
    assert leak[0].marks == leak[1].marks == ("selected on test",)
    source = composed("pretrain=at", "finetune=at", "dataset=pets", "pretrain.schedule=plateau")
    with pytest.raises(ConfigError, match=r"source.validation_fraction is 0"):
        training_stages(source)


def test_marks_say_what_keeps_a_row_out_of_tables(base):
    assert [stage.marks for stage in training_stages(base)] == [(), (), ()]
    unverified = training_stages(set_field(base, "data.verify", False))
    assert [stage.marks for stage in unverified] == [("data not verified",)] * 3
    smoke = training_stages(composed(*BASE, "budget=smoke"))
    assert [stage.marks for stage in smoke] == [("smoke",)] * 3
    assert [stage.generated for stage in smoke] == [8] * 3


CONFIG = composed(*BASE)


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
    target = data_facts(base.dataset, base.budget)

    def planned(key, path):
        method = CheckpointConfig("checkpoint", path, None, "auto", None, False)
        config = dataclasses.replace(base, pretrain=method)
        facts = checkpoint(key=key, path=Path(path), num_classes=1000)
        return [s.key for s in plan_training(config, source=None, target=target, checkpoint=facts)]

    assert planned("a" * 64, "here.pt") == planned("a" * 64, "there.pt")
    assert not set(planned("a" * 64, "here.pt")) & set(planned("b" * 64, "here.pt"))
