"""Adversarial images rounded to 8 bit."""

import pytest
import torch

from robust_transfer.attacks import autoattack, autopgd, pgd, threat
from robust_transfer.attacks.storage import to_8bit
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.modes import eval_mode

SETTING = {"num_steps": 10, "batch_size": 16}


@pytest.fixture
def bytes_images(images):
    return (images * 255).round() / 255


@pytest.mark.parametrize(("norm", "eps"), [("linf", 4 / 255), ("linf", 2.6 / 255), ("l2", 0.2), ("l1", 1.0)])
def test_rounded_points_are_of_8_bit_and_in_the_ball(norm, eps, bytes_images):
    points = threat.project(
        bytes_images + 0.1 * torch.randn_like(bytes_images), bytes_images, norm=norm, eps=eps
    )
    points = threat.tighten(points, bytes_images, norm=norm, eps=eps)
    stored = to_8bit(points, bytes_images, norm=norm, eps=eps)
    bytes_again = (stored * 255).round().byte()
    assert torch.equal(bytes_again.float() / 255, stored)
    assert (threat.distances(stored, bytes_images, norm=norm) <= eps * (1 + 1e-5)).all()
    assert (stored - points).abs().max() < 1 / 255 + 1e-6 and (stored != bytes_images).any()


@pytest.mark.parametrize("attack", [autopgd, pgd])
def test_flags_are_those_of_the_rounded_images(attack, model, bytes_images, labels):
    with eval_mode(model), torch.no_grad():
        clean = model(bytes_images).argmax(1) == labels
    floats = attack(model, bytes_images, labels, eps=0.3, **SETTING)
    found = attack(model, bytes_images, labels, eps=0.3, storage="8bit", **SETTING)
    expected = to_8bit(floats.images, bytes_images, norm="l2", eps=0.3)
    assert torch.equal(found.images[clean], expected[clean])
    with torch.no_grad():
        predicted = model(found.images).argmax(1)
    assert torch.equal(found.robust, clean & (predicted == labels))
    assert torch.equal(found.adversarial_prediction, predicted)
    assert int(found.robust.sum()) > int(floats.robust.sum()), "rounding undoes hits at the boundary"


def test_what_is_told_early_is_rounded_too(model, bytes_images, labels):
    told = {}

    def finalised(positions, part):
        told.update(
            zip(positions, zip(part.robust.tolist(), part.distance.tolist(), strict=True), strict=True)
        )

    found = autopgd(
        model,
        bytes_images,
        labels,
        eps=0.3,
        storage="8bit",
        on_finalised=finalised,
        **{**SETTING, "batch_size": 6},
    )
    assert told and all((found.robust[i], found.distance[i]) == row for i, row in told.items())


def test_autoattack_names_what_rounding_left_broken(model, bytes_images, labels):
    pytest.importorskip("pyautoattack")
    found = autoattack(
        model, bytes_images, labels, eps=0.3, storage="8bit", version=("apgd-ce",), num_queries=5, **SETTING
    )
    assert [name == "" for name in found.broken_by] == found.robust.tolist()


def test_expected_accuracy_is_not_rounded(model, images, labels):
    with pytest.raises(EvaluationError, match="num_eot=1"):
        autopgd(model, images, labels, storage="8bit", num_eot=2)
