"""Every model and every form of images and labels that users hold gives the same attack."""

import numpy as np
import pytest
import torch
from torch import nn

from robust_transfer.attacks import autoattack, autopgd, pgd
from robust_transfer.core.errors import EvaluationError

BRIEF = {"eps": 0.3, "num_steps": 4, "batch_size": 16}


class Output:
    def __init__(self, logits):
        self.logits = logits


class Returns(nn.Module):
    def __init__(self, model, form):
        super().__init__()
        self.model, self.form = model, form

    def forward(self, x):
        return self.form(self.model(x))


MODELS = {
    "function": lambda model: lambda x: model(x),
    "with .logits": lambda model: Returns(model, Output),
    "channels_last": lambda model: model.to(memory_format=torch.channels_last),
    "DataParallel": nn.DataParallel,
}


@pytest.mark.parametrize("name", MODELS)
def test_other_forms_of_a_model_are_attacked_alike(name, model, images, labels):
    expected = autopgd(model, images, labels, **BRIEF)
    result = autopgd(MODELS[name](model), images, labels, **BRIEF)
    assert torch.equal(result.robust, expected.robust) and result.flags == []
    assert result.record["arithmetic"] == expected.record["arithmetic"].replace("weights float32, ", (
        "weights none, " if name == "function" else "weights float32, "
    ))  # fmt: skip


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cast_images", [False, True])
def test_half_models_are_judged_in_their_own_arithmetic_and_it_is_said(
    kind, cast_images, model, images, labels
):
    half = model.to(kind)
    given = images.to(kind) if cast_images else images
    for attack in (autopgd, pgd):
        result = attack(half, given, labels, **BRIEF)
        assert [flag.split(":")[0] for flag in result.flags] == ["low_precision"]
        assert str(kind).removeprefix("torch.") in result.record["arithmetic"]
        assert result.images.dtype == torch.float32
        with torch.no_grad():
            predictions = half(result.images.to(kind)).argmax(1)
        assert (predictions == result.adversarial_prediction).float().mean() > 0.9
        assert 0 < int(result.robust.sum()) < len(images)


def test_double_models_stay_double(model, images, labels):
    expected = autopgd(model, images, labels, **BRIEF)
    double = model.double()
    for given in (images, images.double()):
        result = autopgd(double, given, labels, **BRIEF)
        assert "weights float64, logits float64" in result.record["arithmetic"] and result.flags == []
        same = ~(result.near_tie | expected.near_tie)
        assert torch.equal(result.robust[same], expected.robust[same])
        assert result.images.dtype == given.dtype


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x.numpy(), y.numpy()),
        lambda x, y: (x.numpy().astype(np.float64), y.tolist()),
        lambda x, y: (x.contiguous(memory_format=torch.channels_last), y.int()),
        lambda x, y: (x.clone().requires_grad_(), y.to(torch.uint8)),
    ],
)
def test_arrays_and_lists_are_taken(form, model, images, labels):
    expected = autopgd(model, images, labels, **BRIEF)
    given, classes = form(images, labels)
    result = autopgd(model, given, classes, index=np.arange(40), **BRIEF)
    assert torch.equal(result.robust, expected.robust)


def test_numbers_are_taken_as_users_write_them(model, images, labels):
    expected = autopgd(model, images, labels, **BRIEF)
    kwargs = {"eps": torch.tensor(0.3), "num_steps": 4.0, "batch_size": np.int64(16), "seed": np.int32(0)}
    assert torch.equal(autopgd(model, images, labels, **kwargs).robust, expected.robust)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"eps": "8/255"}, "eps=8/255"),
        ({"eps": torch.full((40,), 0.3)}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": 1e-9}, "lost in the rounding"),
        ({"eps": 1e-9, "norm": "linf"}, "lost in the rounding"),
        ({"num_steps": 2.5}, "num_steps=2.5"),
        ({"num_steps": 0}, "at least 1"),
        ({"seed": None}, "seed"),
        ({"norm": "L2"}, "did you mean 'l2'"),
        ({"norm": float("inf")}, "did you mean 'linf'"),
        ({"shapes": "lader"}, "did you mean 'ladder'"),
        ({"index": ["a"] * 40}, "index"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_with_the_fix(kwargs, words, model, images, labels):
    with pytest.raises(EvaluationError) as caught:
        autopgd(model, images, labels, **{**BRIEF, **kwargs})
    assert words in str(caught.value) and len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("step_size", [0, -0.1, float("nan")])
def test_steps_that_lead_nowhere_are_refused(step_size, model, images, labels):
    with pytest.raises(EvaluationError, match="step_size"):
        pgd(model, images, labels, step_size=step_size, **BRIEF)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda z: (z, z), "model(images)[0]"),
        (lambda z: {"logits": z}, "model(images)['logits']"),
        (lambda z: z.argmax(1), "not the predicted classes"),
        (lambda z: z[:, :1], "at least 2 classes"),
        (lambda z: None, "NoneType"),
    ],
)
def test_outputs_that_are_not_obvious_are_refused_in_one_line(form, words, model, images, labels):
    with pytest.raises(EvaluationError) as caught:
        autopgd(Returns(model, form), images, labels, **BRIEF)
    assert words in str(caught.value) and len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("given", "classes", "words"),
    [
        (lambda x: (x * 255).int(), lambda y: y, "divide by 255"),
        (lambda x: x[0], lambda y: y[:1], "images[None]"),
        (lambda x: x[:0], lambda y: y[:0], "B at least 1"),
        (lambda x: x, lambda y: None, "labels"),
        (lambda x: x, lambda y: nn.functional.one_hot(y, 6), "labels.argmax(1)"),
        (lambda x: x, lambda y: y.float(), "whole numbers"),
        (lambda x: "photo.png", lambda y: y, "images"),
    ],
)
def test_wrong_images_and_labels_are_refused_in_one_line(given, classes, words, model, images, labels):
    with pytest.raises(EvaluationError) as caught:
        autopgd(model, given(images), classes(labels), **BRIEF)
    assert words in str(caught.value) and len(str(caught.value).splitlines()) <= 2


def test_what_cannot_be_called_is_no_model(images, labels):
    with pytest.raises(EvaluationError, match="model: expected a function"):
        autopgd("resnet50", images, labels, **BRIEF)


def test_grey_images_that_are_not_square_are_attacked(images):
    net = nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    net.append(nn.Linear(16, 5))
    wide = torch.rand(4, 1, 57, 47, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        classes = net(wide).argmax(1)
    for attack, kwargs in ((autopgd, {}), (autoattack, {"num_queries": 10})):
        result = attack(net, wide, classes, eps=0.5, num_steps=3, **kwargs)
        assert result.images.shape == wide.shape


@pytest.mark.parametrize("mask", [-100.0, -1e9, -torch.inf])
def test_masked_classes_hide_nothing(mask, model, images, labels):
    """A head that is used for some of its classes: the same outcome as without the others."""

    def masked(z):
        return torch.cat([z[:, :4], torch.full_like(z[:, 4:], mask)], 1)

    def few(z):
        return z[:, :4]

    with torch.no_grad():
        classes = few(model(images)).argmax(1)
    kwargs = {**BRIEF, "num_steps": 20}
    for loss in ("ce", "dlr"):
        result, expected = (
            autopgd(Returns(model, form), images, classes, loss=loss, **kwargs) for form in (masked, few)
        )
        assert torch.equal(result.robust, expected.robust) and result.flags == []
        assert torch.equal(result.near_tie, expected.near_tie) and result.near_tie.float().mean() < 0.2


def test_labels_that_are_masked_are_refused(model, images, labels):
    def masked(z):
        return torch.cat([z[:, :4], torch.full_like(z[:, 4:], -torch.inf)], 1)

    with pytest.raises(EvaluationError, match=r"^masked:.*on 40 images"):
        autopgd(Returns(model, masked), images, labels * 0 + 5, **BRIEF)
