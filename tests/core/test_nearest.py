"""Which name a word means: typing errors drawn over all names, other tools' words, numbered families."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from robust_transfer.cli.shipped import conf_directory
from robust_transfer.config.evaluators import evaluators
from robust_transfer.config.explain import all_values
from robust_transfer.config.methods import FINETUNE, PRETRAIN
from robust_transfer.config.schema import parse
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.nearest import MEANT, nearest


def misspelt(name, draw):
    """One letter left out, doubled, replaced, or two that changed places."""
    place = draw.randrange(len(name) - 1)
    kind = draw.randrange(4)
    if kind == 0:
        return name[:place] + name[place + 1 :]
    if kind == 1:
        return name[: place + 1] + name[place:]
    if kind == 2:
        return name[:place] + draw.choice("aeinorst_") + name[place + 1 :]
    return name[:place] + name[place + 1] + name[place] + name[place + 2 :]


def suggestion(path, typed, paths):
    """What is said where a name is typed for the last of a path: by the group's class, or by --explain."""
    group, _, rest = path.partition(".")
    owners = {**PRETRAIN, **FINETUNE} if group in ("pretrain", "finetune") else evaluators()
    owner = next((cls for cls in owners.values() if rest in cls.__dataclass_fields__), None)
    if owner is None:  # as --explain says
        return did_you_mean(f"{path.rpartition('.')[0]}.{typed}".lstrip("."), paths)
    with pytest.raises(ConfigError) as caught:
        parse(owner, {typed: 1}, group)
    return " ".join(caught.value.hints)


def test_of_200_typing_errors_nine_in_ten_get_a_suggestion_with_the_right_name():
    draw = random.Random(0)
    paths = sorted({value.path for value in all_values(conf_directory())})
    names = {path.rpartition(".")[2] for path in paths}
    tried = right = 0
    missed = []
    while tried < 200:
        path = draw.choice(paths)
        name = path.rpartition(".")[2]
        if len(name) < 3 or (typed := misspelt(name, draw)) in names:
            continue  # `n` has no letters to spare, and another name is none that is misspelt
        tried += 1
        if name in suggestion(path, typed, paths):
            right += 1
        else:
            missed.append((path, typed, suggestion(path, typed, paths)))
    assert right >= 180, missed


@pytest.mark.parametrize(
    ("word", "choices", "meant"),
    [
        ("learning_rate", ["lr", "lars"], ["lr"]),
        ("LearningRate", ["lr", "lars"], ["lr"]),
        ("table9", ["table2", "table3", "quickstart"], ["table2", "table3"]),
        ("resnet51", ["resnet18", "resnet50", "resnet18_small"], ["resnet18", "resnet50"]),
        ("table2b", ["table2", "table3"], ["table2"]),
        ("steps", ["max_steps", "save_every_steps", "lr"], ["max_steps"]),
        ("xyz", ["lr", "sigma"], []),
        ("", ["lr"], []),
        ("a", [], []),
    ],
)
def test_words_of_other_tools_families_and_parts_of_names(word, choices, meant):
    assert nearest(word, choices) == meant


def test_a_suggestion_names_one_or_some_or_else_all():
    assert did_you_mean("sigm", ["sigma", "alpha"]) == "did you mean 'sigma'?"
    assert did_you_mean("v9", ["v1", "v2"]) == "did you mean 'v1' or 'v2'?"
    assert did_you_mean("zz", ["b", "a"]) == "choose from: a, b"


def test_what_a_word_of_another_tool_means_exists():
    paths = [value.path for value in all_values(Path(conf_directory()))]
    names = {part for path in paths for part in path.split(".")} | {"model", "dataset", "status", "cuda"}
    assert set(MEANT.values()) <= names
