import pytest
import torch
from torch.nn import functional

from counted_steps import PROGRESS, step_of
from robust_transfer.core import rng
from robust_transfer.objectives import build
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method


def small():
    return small_model(3)


def images_and_labels():
    return torch.rand(5, 3, 8, 8, generator=rng.generator(0, "images")), torch.tensor([0, 1, 2, 0, 1])


def test_standard_is_the_mean_cross_entropy():
    model, (images, labels) = small(), images_and_labels()
    loss, metrics = build(make_method("st"))(model, whole(images, labels), None, FIRST)
    logits = model(images)
    by_hand = -torch.stack(
        [logits.double().log_softmax(1)[i, label] for i, label in enumerate(labels)]
    ).mean()
    torch.testing.assert_close(loss.double(), by_hand, rtol=1e-6, atol=0)
    assert metrics["accuracy"] == sum(int(a == b) for a, b in zip(logits.argmax(1), labels, strict=True)) / 5


def test_linear_trains_the_head_and_keeps_batchnorm_in_eval_mode():
    objective, model, (images, labels) = build(make_method("st_linear")), small(), images_and_labels()
    trained = objective.training_model(model, {})
    assert trained is model
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "backbone.fc.weight",
        "backbone.fc.bias",
    ]
    objective.train_mode(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    loss, _ = objective(model, whole(images, labels), None, FIRST)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.eval()
    torch.testing.assert_close(loss, functional.cross_entropy(model(images), labels))


@pytest.mark.parametrize("name", ["at_linear", "cr_linear"])
def test_a_head_learns_by_the_loss_of_its_method_and_nothing_else_moves(name):
    """The whole method with its network in eval mode and frozen by hand, up to rounding."""
    linear, batch = step_of(name)
    whole_method, _ = step_of(name.removesuffix("_linear"))
    before = {key: value.clone() for key, value in linear.trained.state_dict().items()}
    whole_method.objective.train_mode = lambda trained: trained.eval()
    for step in (linear, whole_method):
        step(batch, PROGRESS)
    for (key, found), wanted in zip(
        linear.trained.state_dict().items(), whole_method.trained.state_dict().values(), strict=True
    ):
        if "fc" in key:
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
            assert not torch.equal(found, before[key])
        else:
            assert torch.equal(found, before[key]), key
