"""Every field of every configuration: what changes a result changes the key, and nothing else does."""

import dataclasses
import re
import typing

import pytest
import yaml

from planned import checkpoint, child, set_field
from robust_transfer.cli.compose import hydra_session, read
from robust_transfer.cli.shipped import conf_directory
from robust_transfer.config.evaluators import MODES, AutoPGDConfig, CleanConfig, PGDConfig
from robust_transfer.config.methods import FINETUNE, PRETRAIN, CheckpointConfig, NoneConfig
from robust_transfer.config.run import EvaluateConfig, TrainConfig, evaluate_config
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.pipeline import inputs
from robust_transfer.pipeline.inputs import dataset_metadata, training_stages
from robust_transfer.pipeline.plan import plan_evaluation
from robust_transfer.store.records import Lineage
from tiny_runs import composed

SMALL = ("source=mnist5k", "dataset=digits", "model=resnet18_small", "model.width=32")
PLATEAU = ("finetune.schedule=plateau", "dataset.validation_fraction=0.1")
FINETUNED = ("pretrain=none", "until=finetune")
# Between them these runs use every class of every field, and every field of every class.
RUNS = {
    "exact": ("pretrain=cr", "finetune=cr", "evaluators=[certify]"),
    "decide": ("pretrain=none", "finetune=cr", "evaluators=[certify]", "certify.mode=decide"),
    "adaptive": ("pretrain=none", "finetune=cr", "evaluators=[certify]", "certify.mode=adaptive"),
    "attacked": ("pretrain=at", "finetune=at", "evaluators=[clean,pgd,autopgd]", *PLATEAU),
    **{
        name: (*FINETUNED, f"finetune={name}")
        for name in ("gaussian", "macer", "smoothadv", "smoothmix", "free")
    },
    "crt": (*FINETUNED, "finetune=crt", "finetune.teacher=teacher"),
    **{name: ("pretrain=at", f"finetune={name}", "until=finetune") for name in ("lwf", "twins")},
    "deacl": ("pretrain=deacl", "pretrain.teacher=teacher", "finetune=st_linear", "until=finetune"),
    "trades": (*FINETUNED, "finetune=trades", "finetune.eps_schedule=ramp"),
    "perturbed": (*FINETUNED, "finetune=at_linear", "finetune.weight_perturbation=awp"),
    "averaged": (*FINETUNED, "finetune=cr_linear", "finetune.weight_average=ema"),
    "frozen": (*FINETUNED, "finetune=at", "finetune.freeze=layer2"),
    **{
        name: (f"pretrain={name}", "finetune=st_linear", "until=finetune")
        for name in ("byol", "acl", "dynacl", "rotation", "jigsaw", "moco", "swav")
    },
    "simclr": ("pretrain=simclr", "finetune=st_linear", "until=finetune"),
    "st": (
        *("pretrain=st", "pretrain.schedule=cosine", "finetune=st", "until=finetune"),
        "finetune.optimizer=adamw",
    ),
    "noiseless": ("pretrain=none", "finetune=st", "evaluators=[certify]", "certify.sigma=0"),
    "noiseless decide": (
        *("pretrain=none", "finetune=st", "evaluators=[certify]", "certify.sigma=0", "certify.mode=decide"),
        "certify.radii=[0.01]",
    ),
    "fixed start": ("pretrain=none", "finetune=st", "evaluators=[pgd]", "pgd.random_start=false"),
}
# Identity fields that are not live in a run, told here a second time.
NOT_LIVE = {
    "noiseless": {"certify.n0", "certify.n", "certify.alpha", "certify.seed"},
    "noiseless decide": {
        *("certify.n0", "certify.n", "certify.alpha", "certify.seed"),
        *("certify.radii", "certify.analyses"),
    },
    "fixed start": {"pgd.seed"},
}
UNFROZEN = {"pretrain.freeze_statistics", "finetune.freeze_statistics"}
UNSQUARED = {"pretrain.beta2", "finetune.beta2"}
NODES = ("pretrain", "finetune", "clean", "pgd", "autopgd", "certify", "model")
FREE = ("runtime", "data")
OF_FILES = {CheckpointConfig, NoneConfig}  # keyed by the file's content, or not at all


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
    """Yield (dotted path, owner, field) of every field below a node; what chooses a class is not walked."""
    node = config
    for name in path.split("."):
        node = child(node, name)
    for field in dataclasses.fields(node):
        if dataclasses.is_dataclass(getattr(node, field.name)):
            yield from leaves(config, f"{path}.{field.name}")
        elif field.name != "name" and len(field.metadata["choices"] or ("", "")) > 1:
            yield f"{path}.{field.name}", node, field


def keys(config):
    return {stage.identity.get("evaluator", stage.kind): stage.key for stage in training_stages(config)}


def changed_by(config, path, owner, field):
    """Return which stages' keys another value changes."""
    before, after = keys(config), keys(set_field(config, path, other_value(owner, field)))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


# What every name of a teacher finds: fit for the runs above, under any noise.
TEACHER = checkpoint(
    train_sigma=None,
    lineage=Lineage(finetune="cr", dataset="digits", arch="resnet18_small", width=32),
)


@pytest.fixture(scope="module")
def runs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "finished_stage", lambda name, store, option: TEACHER)
        yield composed_runs()


def composed_runs():
    configs = {name: composed(*words, *SMALL) for name, words in RUNS.items()}
    for config in configs.values():
        config.evaluator_settings["certify"].allow_sigma_mismatch = True
    return configs


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_live_identity_field_changes_the_keys_from_its_stage_on_and_no_other_field_any(runs, name):
    config, walked = runs[name], set()
    not_live = NOT_LIVE.get(name, set()) | (UNFROZEN if name != "frozen" else set())
    not_live |= UNSQUARED - ({"finetune.beta2"} if name == "st" else set())
    stages = keys(config)
    evaluations = stages.keys() - {"pretrain", "finetune"}
    for node in NODES + FREE:
        after = {
            "pretrain": stages.keys(),
            "model": stages.keys(),
            "finetune": stages.keys() - {"pretrain"},
            **{evaluator: {evaluator} & evaluations for evaluator in evaluations},
        }.get(node, set())
        for path, owner, field in leaves(config, node):
            if path == "finetune.keep_head" and isinstance(config.pretrain, NoneConfig):
                continue  # refused: there is no head
            if path.endswith(".first"):
                continue  # not a value of a stage but another stage, before it
            if name == "deacl" and path in ("model.arch", "model.width"):
                continue  # refused: the teacher's network is another
            live = field.metadata["identity"] and path not in not_live
            expected = set(after) if live else set()
            if path == "runtime.on_nonfinite":
                expected = set(stages)  # of training alone, and so of all that follows
            assert changed_by(config, path, owner, field) == expected, path
            walked.add(path)
    assert walked >= NOT_LIVE.get(name, set())


def classes():
    """Yield every class of configuration that a key is made of."""
    waiting = [*PRETRAIN.values(), *FINETUNE.values()]
    waiting += [CleanConfig, PGDConfig, AutoPGDConfig, *MODES.values()]
    seen = []
    for cls in waiting:
        if cls in seen or cls in OF_FILES:
            continue
        seen.append(cls)
        for field in dataclasses.fields(cls):
            hint = typing.get_type_hints(cls)[field.name]
            waiting += [h for h in typing.get_args(hint) or [hint] if dataclasses.is_dataclass(h)]
    return seen


def test_the_runs_above_walk_every_field_of_every_class(runs):
    walked = {(type(o), f.name) for c in runs.values() for node in NODES for _, o, f in leaves(c, node)}
    for cls in classes():
        for field in dataclasses.fields(cls):
            hint = typing.get_type_hints(cls)[field.name]
            nested = any(dataclasses.is_dataclass(h) for h in typing.get_args(hint) or [hint])
            choosing = field.name == "name" or len(field.metadata["choices"] or ("", "")) == 1
            assert nested or choosing or (cls, field.name) in walked, (cls, field.name)


def test_every_field_of_an_evaluation_of_a_checkpoint():
    words = ["checkpoint=abcd", "dataset=digits", "evaluators=[clean,pgd,autopgd,autoattack,certify]"]
    with hydra_session("rt-eval", None):
        (job,) = read("evaluate", words, multirun=False).jobs
    config = evaluate_config(job.values)
    config.evaluator_settings["certify"].allow_sigma_mismatch = True
    target, model = dataset_metadata(config.dataset, config.budget, config.data), checkpoint()

    def keys_of(changed):
        stages = plan_evaluation(changed, target=target, checkpoint=model)
        return {stage.identity["evaluator"]: stage.key for stage in stages}

    before = keys_of(config)
    for node in (*config.evaluators, *FREE):
        for path, owner, field in leaves(config, node):
            after = keys_of(set_field(config, path, other_value(owner, field)))
            changed = {name for name in before if before[name] != after[name]}
            assert changed == ({node} if field.metadata["identity"] else set()), path


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("finetune.schedule.patience=31",), "finetune.schedule=plateau"),
        (("finetune.schedule=cosine", "finetune.schedule.step_epochs=51"), "finetune.schedule=step"),
        (("certify.tolerance=0.03",), "certify.mode=adaptive"),
        (("certify.radii=[0.5,1.0]",), "certify.mode=decide"),
        (("certify.mode=decide", "certify.tolerance=0.03"), "certify.mode=adaptive"),
    ],
)
def test_a_value_of_another_choice_is_refused_and_the_choice_named(words, key):
    with pytest.raises(ValueError, match="is not used by") as caught:
        composed("pretrain=none", "finetune=cr", *SMALL, *words)
    assert key in caught.value.hints[0]


def test_what_augments_by_itself_does_not_hold_the_data_sets_augmentation(runs):
    simclr, supervised = runs["simclr"], runs["st"]
    assert keys(set_field(simclr, "source.augment", "crop")) == keys(simclr)
    assert keys(set_field(supervised, "source.augment", "crop")) != keys(supervised)


def test_no_identity_field_has_a_default_that_depends_on_the_machine():
    """Shipped values are constants, but for where the data lie, and nothing of a key is `auto`."""
    dependent = []
    for path in conf_directory().rglob("*.yaml"):
        values = yaml.safe_load(path.read_text())
        for name, value in _plain(values or {}):
            # Another value of the configuration is as constant as it is; a resolver reads the machine.
            if re.search(r"\$\{(?!hydra\.job\.num\})([^}]*:|hydra\b)", str(value)):
                dependent.append(name)
    assert dependent == ["data.root"]
    assert not _field(TrainConfig, "data.root").metadata["identity"]
    for cls in (*classes(), RuntimeConfig, TrainConfig, EvaluateConfig):
        for field in dataclasses.fields(cls):
            assert field.default_factory is dataclasses.MISSING
            by_machine = cls not in (TrainConfig, EvaluateConfig) and "auto" in (
                field.metadata["choices"] or ()
            )
            assert not (by_machine and field.metadata["identity"]), (cls, field.name)


def _plain(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _plain(value, f"{prefix}{name}.")
        elif name != "defaults":
            yield f"{prefix}{name}", value


def _field(cls, path):
    *parents, name = path.split(".")
    for parent in parents:
        cls = typing.get_type_hints(cls)[parent]
    return next(field for field in dataclasses.fields(cls) if field.name == name)
