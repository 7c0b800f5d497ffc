"""LwF, CRT and DeACL: what reads a frozen model beside the one that is trained."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build, crt_loss, deacl_loss, lwf_loss
from small_model import small_model
from steps import FIRST, assert_same_value_and_gradient, one_step, whole
from training_jobs import make_method, references_like

LABELS = torch.tensor([2, 0, 1])


def drawn(name, *shape):
    return rng.normal(shape, 0, name).double()


def cross_entropy(logits):
    return (
        -sum(row[label] - torch.log(torch.exp(row).sum()) for row, label in zip(logits, LABELS, strict=True))
        / 3
    )


def length(vector, order=2):
    return (
        sum(abs(value) for value in vector) if order == 1 else sum(value * value for value in vector) ** 0.5
    )


@pytest.mark.parametrize("order", [1, 2])
def test_lwf_against_loops_and_nothing_reaches_the_reference(order):
    reference = drawn("reference", 3, 5)

    def loops(logits, features, reference):
        distance = sum(length(a - b.detach(), order) for a, b in zip(features, reference, strict=True)) / 3
        return cross_entropy(logits) + 0.7 * distance

    assert_same_value_and_gradient(
        lambda logits, features, kept: lwf_loss(logits, features, kept, LABELS, 0.7, order),
        loops,
        drawn("logits", 3, 4),
        drawn("features", 3, 5),
        reference,
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_crt_against_loops_and_nothing_reaches_the_teacher(weight):
    def loops(student, teacher):
        distance = sum(length(a - b.detach()) for a, b in zip(student, teacher, strict=True)) / 3
        return weight * distance + (1 - weight) * cross_entropy(student)

    assert_same_value_and_gradient(
        lambda student, teacher: crt_loss(student, teacher, LABELS, weight),
        loops,
        drawn("student", 3, 4),
        drawn("teacher", 3, 4),
    )


def test_deacl_against_loops_with_a_gradient_through_both_sides_of_the_second_term():
    def cosine(a, b):
        return sum(a * b) / (length(a) * length(b))

    def loops(clean, attacked, teacher):
        near = sum(cosine(a, b.detach()) for a, b in zip(clean, teacher, strict=True)) / 3
        held = sum(cosine(a, b) for a, b in zip(attacked, clean, strict=True)) / 3
        return -near - 2.0 * held

    assert_same_value_and_gradient(
        lambda *features: deacl_loss(*features, 2.0),
        loops,
        *(drawn(name, 3, 5) for name in ("clean", "attacked", "teacher")),
    )
    same = drawn("clean", 3, 5)
    assert deacl_loss(same, same, same, 2.0).item() == pytest.approx(-3.0)


@pytest.mark.parametrize(
    "loss", [lambda a, b: lwf_loss(a, a, b, LABELS, 1.0, 2), lambda a, b: crt_loss(a, b, LABELS, 1.0)]
)
def test_at_the_reference_itself_gradients_are_finite(loss):
    logits = drawn("logits", 3, 4).requires_grad_()
    loss(logits, logits.detach().clone()).backward()
    assert torch.isfinite(logits.grad).all()


def images_of(count):
    return torch.rand(count, 3, 8, 8, generator=rng.generator(0, "images")).double()


def test_lwf_trains_on_clean_images_and_keeps_the_sources_statistics():
    config = make_method("lwf", feature_weight=0.5)
    source, objective = small_model(3).double(), build(config)
    images = images_of(3)
    source.train()(images)  # statistics that are not the initial ones
    statistics = {name: value.clone() for name, value in source.named_buffers()}
    trained = objective.training_model(copy.deepcopy(source), references_like(config, source))
    objective.train_mode(trained)
    loss, metrics = one_step(objective, trained, whole(images, LABELS), None)
    source.eval()
    assert loss.item() == pytest.approx(functional.cross_entropy(source(images), LABELS).item())
    assert metrics["feature_distance"] == 0  # it begins at its source
    with torch.no_grad():
        trained.features.backbone.conv1.weight += 0.1
    loss, metrics = one_step(objective, trained, whole(images, LABELS), None)
    moved, kept = (features(model, images) for model in (objective.exported_model(trained), source))
    distance = (moved - kept).abs().sum(1).mean()
    assert metrics["feature_distance"].item() == pytest.approx(distance.item())
    exported = objective.exported_model(trained)
    cross = functional.cross_entropy(exported(images), LABELS)
    assert loss.item() == pytest.approx((cross + 0.5 * distance).item())
    for name, value in exported.named_buffers():
        assert torch.equal(value, statistics[name]), name


def features(model, images):
    whole_model = copy.deepcopy(model).eval()
    whole_model.backbone.fc = torch.nn.Identity()
    return whole_model(images)


def test_crt_shows_student_and_teacher_the_same_noise():
    config = make_method("crt", transfer_weight=0.0)
    model, objective, images = small_model(3).double(), build(config), images_of(3)
    references = references_like(config, model)
    seen = []
    references["teacher"].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    trained = objective.training_model(model, references)
    draw = drawn("noise", 3, 3, 8, 8)
    loss, _ = one_step(objective, trained, whole(images, LABELS), lambda purpose, copy: draw)
    torch.testing.assert_close(seen[0], images + config.sigma * draw)
    expected = functional.cross_entropy(copy.deepcopy(model)(images + config.sigma * draw), LABELS)
    assert loss.item() == pytest.approx(expected.item())


def test_crt_refuses_a_teacher_of_other_classes():
    config = make_method("crt")
    with pytest.raises(ConfigError, match="4 other classes"):
        build(config).training_model(small_model(3), references_like(config, small_model(4)))


def test_deacl_starts_from_its_teacher_and_its_first_step_is_the_formulas():
    config = make_method("deacl")
    teacher, objective, images = small_model(0).double(), build(config), images_of(3)
    teacher.backbone.conv1.weight.data += 0.05
    trained = objective.training_model(small_model(0).double(), {"teacher": copy.deepcopy(teacher).eval()})
    for found, wanted in zip(trained.state_dict().values(), teacher.state_dict().values(), strict=True):
        assert torch.equal(found, wanted)
    objective.train_mode(trained)
    draw = drawn("noise", 3, 3, 8, 8)
    batch = objective.prepare(trained, whole(images, LABELS), lambda *_: draw, FIRST)
    loss, _ = objective(trained, batch, None, FIRST)
    together = copy.deepcopy(teacher).train()(torch.cat(batch.images[:2]))
    kept = teacher.eval()(images)
    a = functional.cosine_similarity(together[:3], kept).mean()
    b = functional.cosine_similarity(together[3:], together[:3]).mean()
    assert loss.item() == pytest.approx((-a - 2 * b).item())
    assert math.isfinite(loss.item())
