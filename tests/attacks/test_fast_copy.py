"""The copy for gradients: taken where it is the same function and quicker, never otherwise."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autoattack, autopgd, fast_copy, guarded, pgd
from robust_transfer.attacks.model import LogitModel
from robust_transfer.config.evaluators import AutoPGDConfig, PGDConfig

SETTING = {"eps": 0.3, "num_steps": 20, "batch_size": 16}


@pytest.fixture
def clock(monkeypatch):
    """Say which of the two is quicker, by what a model's gradient is taken to cost."""

    def quicker(copy):
        def seconds(model, images, labels):
            return 1.0 if (model.model.__class__.__name__ == "FastInference") == copy else 2.0

        monkeypatch.setattr(fast_copy, "_seconds", seconds)

    monkeypatch.setattr(guarded, "LONG_ENOUGH", 600)
    return quicker


def short_autoattack(*args, **settings):
    return autoattack(*args, version=["apgd-ce", "apgd-t"], guards="off", **settings)


@pytest.mark.parametrize("attack", [autopgd, pgd, short_autoattack])
def test_flags_are_the_same_and_the_models_own_gradient_is_not_asked(attack, clock, model, images, labels):
    clock(copy=True)
    own = []
    model.register_forward_hook(lambda *_: own.append(torch.is_grad_enabled()))
    found = attack(model, images, labels, **SETTING)
    assert sum(own) <= 3  # the checks'
    assert all(flag.startswith("not_standard") for flag in found.flags)  # short, or of two parts
    own.clear()
    plain = attack(model, images, labels, fast=False, **SETTING)
    assert sum(own) > 10
    assert 0 < plain.robust.sum() < len(images)
    assert not ((found.robust != plain.robust) & ~found.near_tie).any()


@pytest.mark.parametrize(
    "setting", [{"shapes": "one"}, {"num_steps": 4}, {"num_eot": 2}, {"gradient_model": lambda x: x}]
)
def test_nothing_is_tried_where_bits_are_promised_or_it_cannot_pay(
    setting, model, images, labels, monkeypatch
):
    monkeypatch.setattr(guarded, "LONG_ENOUGH", 10)

    def refused(*_):
        raise AssertionError("a copy was tried")

    monkeypatch.setattr(guarded, "faster_copy", refused)
    if "gradient_model" in setting:
        setting = {"gradient_model": model}
    autopgd(model, images[:2], labels[:2], guards="off", **{"num_steps": 6, **setting})
    with pytest.raises(AssertionError, match="tried"):
        autopgd(model, images[:2], labels[:2], guards="off", num_steps=6)


def test_no_setting_of_an_evaluation_hangs_on_the_clock():
    for config in (AutoPGDConfig, PGDConfig):
        assert "fast" not in {field.name for field in fields(config)}


def test_the_model_comes_back_as_it_was(clock, model, images, labels):
    clock(copy=True)
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    gradient = model[0].bias.grad = torch.ones(6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    autopgd(model, images, labels, guards="off", **SETTING)
    assert [part.training for part in model] == [True, False, *[True] * 5] and model.training
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 7]
    assert model[0].bias.grad is gradient and gradient.eq(1).all() and model[0].weight.grad is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_quicker_one_is_taken(clock, model, images, labels):
    wrapped = LogitModel(model).eval().requires_grad_(False)
    for copy in (True, False):
        clock(copy=copy)
        with torch.no_grad():
            assert (fast_copy.faster_copy(wrapped, images, labels) is not wrapped) == copy


@pytest.mark.parametrize("spoil", ["logits", "gradient", "copying"])
def test_a_copy_that_is_another_function_is_left_alone(spoil, clock, model, images, labels, monkeypatch):
    class Spoilt(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self, x):
            logits = self.part(x)
            return logits * 1.1 if spoil == "logits" else 2 * logits.detach() - logits

    def copied(part):
        if spoil == "copying":
            raise RuntimeError("cannot be copied")
        return Spoilt(part)

    monkeypatch.setattr(fast_copy, "fast_inference", copied)
    monkeypatch.setattr(fast_copy, "_seconds", lambda m, *_: float(m.model is model))
    wrapped = LogitModel(model).eval().requires_grad_(False)
    with torch.no_grad():
        assert fast_copy.faster_copy(wrapped, images, labels) is wrapped


def test_functions_have_no_copy(images, labels, model):
    plain = LogitModel(lambda x: model(x))
    assert fast_copy.faster_copy(plain, images, labels) is plain
