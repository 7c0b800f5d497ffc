"""The shipped configs: each composes and parses, and its defaults are the study's."""

import copy
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planned import child
from robust_transfer.cli.compose import read
from robust_transfer.cli.shipped import conf_directory, data_sets
from robust_transfer.config.evaluators import evaluators
from robust_transfer.config.methods import FINETUNE, PRETRAIN
from robust_transfer.config.run import TrainConfig, evaluate_config, train_config
from robust_transfer.core.errors import ConfigError
from robust_transfer.data import catalogue
from tiny_runs import composed, shipped_configs


def names(group):
    files = (conf_directory() / group).glob("*.yaml")
    return sorted({p.stem for p in files if not p.stem.startswith("_")} | set(data_sets(group)))


def values_of(*overrides, config_name="train"):
    with shipped_configs():
        composition = read(config_name, list(overrides), multirun=False)
    return [job.values for job in composition.jobs]


CHOICES = {group: names(group) for group in ("model", "source", "dataset", "pretrain", "finetune", "budget")}
ASKING = {"imagefolder": "{}.root=somewhere", "checkpoint": "{}.path=weights.pt"}  # for a value of their own


@pytest.mark.slow
@pytest.mark.parametrize("number", range(max(map(len, CHOICES.values()))))
def test_every_shipped_choice_composes_and_parses(number):
    """Every group's choices in turn, all groups at once: composing takes most of the time."""
    chosen = {group: choices[number % len(choices)] for group, choices in CHOICES.items()}
    more = [ASKING[name].format(group) for group, name in chosen.items() if name in ASKING]
    config = composed(*(f"{group}={name}" for group, name in chosen.items()), *more)
    for group, name in chosen.items():
        parsed = getattr(config, group)
        assert getattr(parsed, "name", None) or parsed.arch == name
        if group in ("pretrain", "finetune"):
            # A recipe is called as its runs are: the method, and the options that it sets.
            assert getattr(parsed, "shown_name", parsed.name) == name
            assert type(parsed) is {"pretrain": PRETRAIN, "finetune": FINETUNE}[group][parsed.name]


# What is composed of a sweep: of any recipe one, of a large product a side of each.
PARTS = {
    "lr_search": [["pretrain=none", "finetune=st", "dataset=digits"]],
    "natural": [["dataset=digits"], ["cell=natural/none_at"]],
    "natural_gpu": [["dataset=digits", "seed=0"]],
    "natural_weights": [["dataset=caltech101", "seed=0"]],
    "methods": [["pretrain=none", "finetune=at"]],
    "methods_mini": [["cell=methods_mini/none", "finetune=at"]],
}


# The study's tables and all12 are planned, which begins with this, in cli/test_presets.py; every method of
# methods and methods_mini in test_docs.py.
@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment", [n for n in names("experiment") if not n.startswith("table") and n != "all12"]
)
def test_every_experiment_composes_and_parses(experiment):
    for words in PARTS.get(experiment, [[]]):
        found = [train_config(values) for values in values_of(f"experiment={experiment}", *words)]
        assert len(found) > 1
        if experiment != "lr_search":
            assert {config.label for config in found} == {experiment}


def test_every_data_set_and_method_has_a_config():
    assert set(names("dataset")) == set(catalogue.names()) - {"mnist5k"}
    assert set(names("source")) == set(catalogue.names())
    assert set(names("pretrain")) >= set(PRETRAIN) and set(names("finetune")) >= set(FINETUNE)


# The study's values, written here a second time.
STUDY = [
    ("pretrain=none finetune=cr dataset=pets", "finetune", {
        "sigma": 0.5, "num_noise_samples": 2, "consistency_weight": 5.0, "entropy_weight": 0.5, "epochs": 150,
        "batch_size": 32, "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4,
    }),
    ("pretrain=none finetune=cr dataset=pets", "finetune.schedule", {
        "name": "step", "step_epochs": 50, "gamma": 0.1,
    }),
    ("pretrain=none finetune=at dataset=pets finetune.schedule=plateau dataset.validation_fraction=0.1",
     "finetune.schedule",
     {"name": "plateau", "gamma": 0.1, "patience": 30, "drops": 2, "select_on": "validation"}),
    ("pretrain=none finetune=at dataset=pets", "finetune.attack", {
        "norm": "l2", "eps": 0.5, "num_steps": 3, "step_size": 1 / 3, "random_start": True,
    }),
    ("pretrain=at finetune=at dataset=pets", "pretrain.attack", {
        "norm": "l2", "eps": 0.5, "num_steps": 3, "step_size": 1 / 3,
    }),
    ("pretrain=cr finetune=cr dataset=pets", "pretrain", {
        "sigma": 0.5, "num_noise_samples": 2, "consistency_weight": 5.0, "entropy_weight": 0.5,
    }),
    ("pretrain=none finetune=at dataset=pets", "finetune", {
        "batch_size": 64, "lr": 0.01,
    }),
    ("pretrain=none finetune=at dataset=pets", "autopgd", {
        "norm": "l2", "eps": 0.5, "num_steps": 100, "num_restarts": 1, "loss": "ce", "subset": None,
    }),
    ("pretrain=none finetune=cr dataset=pets", "certify", {
        "sigma": 0.5, "n0": 100, "n": 100_000, "alpha": 0.001, "subset": 500, "mode": "exact",
    }),
    ("pretrain=none finetune=cr dataset=pets", "model", {"arch": "resnet50", "image_size": 224, "width": 64}),
    ("pretrain=none finetune=cr dataset=dtd", "dataset", {
        "partition": 1, "shots": None, "train_fraction": None,
    }),
    ("pretrain=none finetune=cr dataset=pets", "dataset", {
        "augment": "crop_flip", "validation_fraction": 0.0,
    }),
    ("pretrain=simclr finetune=cr dataset=pets", "source", {"name": "imagenet"}),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "path", "expected"), STUDY)
def test_defaults_are_the_studys(overrides, path, expected):
    node = composed(*overrides.split())
    for name in path.split("."):
        node = child(node, name)
    assert {name: getattr(node, name) for name in expected} == pytest.approx(expected)


def test_the_step_of_the_attack_follows_eps_and_steps():
    at = composed("pretrain=none", "finetune=at", "dataset=pets", "finetune.attack.eps=1.2")
    assert at.finetune.attack.step_size == pytest.approx(0.8)


def test_the_radius_of_decide_is_the_studys():
    assert composed("pretrain=none", "finetune=cr", "dataset=pets", "certify.mode=decide").evaluator_settings[
        "certify"
    ].radii == [0.5]


def test_every_field_has_a_help_text():
    seen, waiting = set(), [TrainConfig, *PRETRAIN.values(), *FINETUNE.values(), *evaluators().values()]
    values = composed("pretrain=at", "finetune=at", "dataset=digits")
    for cls in waiting:
        for field in dataclasses.fields(cls):
            assert field.metadata["help"], (cls, field.name)
            inner = getattr(values, field.name, None)
            if dataclasses.is_dataclass(inner) and type(inner) not in seen:
                seen.add(type(inner))
                waiting.append(type(inner))
    assert len(seen) > 5


(PLAIN,) = values_of("pretrain=cr", "finetune=at", "dataset=digits")
(EVALUATION,) = values_of("checkpoint=abcd", "dataset=digits", "evaluators=[clean]", config_name="evaluate")
wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


def paths(values, prefix=()):
    for name, value in values.items():
        yield (*prefix, name)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, name))


@given(data=st.data(), value=wild, add=st.booleans())
def test_one_wild_value_anywhere_is_parsed_or_refused(data, value, add):
    for plain, build in ((PLAIN, train_config), (EVALUATION, evaluate_config)):
        changed = copy.deepcopy(plain)
        *parents, name = data.draw(st.sampled_from(sorted(paths(plain))))
        node = changed
        for parent in parents:
            node = node[parent]
        node[f"{name}x" if add else name] = value
        try:
            config = build(changed)
        except ConfigError:
            continue
        assert not add and dataclasses.is_dataclass(config)


@given(values=wild)
def test_anything_at_all_is_parsed_or_refused(values):
    for build in (train_config, evaluate_config):
        with pytest.raises(ConfigError):
            build(values if isinstance(values, dict) else {"pretrain": values})


def test_radii_are_taken_as_fractions():
    base = ("pretrain=none", "finetune=at", "dataset=digits")
    config = composed(*base, "autopgd.eps=8/255", "finetune.attack.eps=4/255")
    assert config.evaluator_settings["autopgd"].eps == 8 / 255 and config.finetune.attack.eps == 4 / 255
    for wrong in ("8/0", "a/255", "8/", "-8/255"):
        with pytest.raises(ConfigError, match=r"autopgd\.eps"):
            composed(*base, f"autopgd.eps='{wrong}'")


def test_compilation_and_recomputed_activations_exclude_each_other():
    with pytest.raises(ConfigError, match=r"compile=true with .*activation_checkpointing=true"):
        composed(*STUDY[0][0].split(), "runtime.compile=true", "runtime.activation_checkpointing=true")
