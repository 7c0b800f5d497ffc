"""Every value is explained: meaning, range, choices, default, origin."""

import pytest
from omegaconf import OmegaConf

from robust_transfer.cli.shipped import conf_directory
from robust_transfer.cli.train import main
from robust_transfer.config.explain import all_values, explain
from robust_transfer.core.errors import ConfigError
from tiny_runs import composed

CONF = conf_directory()
VALUES = all_values(CONF)


def test_every_value_says_what_it_means_and_what_it_may_be():
    assert len(VALUES) > 100
    for value in VALUES:
        assert value.meaning, value.path
        assert value.type or value.choices, value.path


def test_defaults_are_those_of_a_composed_run():
    config = composed("pretrain=simclr", "finetune=cr", "dataset=pets")
    checked = 0
    for value in VALUES:
        group, _, name = value.path.partition(".")
        if value.default and group in ("pretrain", "finetune") and "." not in name:
            method = {"pretrain": "simclr", "finetune": "cr"}[group]
            if f"{group}={method}" in value.of:
                shipped = OmegaConf.create(f"value: {value.default}").value
                assert shipped == getattr(getattr(config, group), name), value.path
                checked += 1
    assert checked > 15


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("finetune.sigma", ["finetune=cr", "standard deviation", "more than 0", "0.5 (stated in the study)"]),
        ("certify.radii", ["certify.mode=decide", "[0.5] (stated in the study)"]),
        ("certify.mode", ["one of exact, decide, adaptive"]),
        ("finetune.schedule", ["one of step, cosine, plateau"]),
        ("finetune.schedule.step_epochs", ["finetune.schedule=step", "50"]),
        ("runtime.compile", ["true or false", "changes no result"]),
        ("pretrain.teacher", ["a text or a mapping of values", "another value is another stage"]),
        ("autopgd", ["autopgd.eps = 0.5", "autopgd.num_steps = 100"]),
    ],
)
def test_the_command_explains_a_value_or_a_group(name, expected, capsys):
    assert main(["--explain", name]) == 0
    text = capsys.readouterr().out
    assert all(part in text for part in expected), text


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lr", "finetune.lr"), ("finetune.sigm", "finetune.sigma"), ("certify.raddi", "certify.radii")],
)
def test_what_is_not_a_value_names_the_nearest(name, hint):
    with pytest.raises(ConfigError, match="is not a value") as caught:
        explain(name, CONF)
    assert hint in caught.value.hints[0]
