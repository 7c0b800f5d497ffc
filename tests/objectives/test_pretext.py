"""Rotation and jigsaw: the tasks against numpy, the loss, the attack, what is drawn and exported."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import build, pretext_loss, rotate_quarters, shuffle_patches
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method

SIZE = 6


def started(name, **changes):
    objective = build(make_method(name, **changes))
    return objective, objective.training_model(small_model(0).double(), {}).train()


def batch():
    images = torch.rand(SIZE, 3, 8, 8, generator=rng.generator(0, "images")).double()
    return whole(images, torch.zeros(SIZE, dtype=torch.int64))


def noise(purpose, copy):
    return rng.normal((SIZE, 3, 8, 8), 0, purpose, copy).double()


def test_quarters_are_numpys():
    images, turns = batch().images[0], torch.tensor([0, 1, 2, 3, 1, 0])
    for found, image, turn in zip(rotate_quarters(images, turns), images, turns, strict=True):
        assert np.array_equal(found.numpy(), np.rot90(image.numpy(), int(turn), (1, 2)))


def test_patches_by_slices():
    images = batch().images[0]
    orders = torch.stack([torch.randperm(16, generator=rng.generator(0, "order", i)) for i in range(SIZE)])
    found = shuffle_patches(images, orders)
    for image, made, order in zip(images, found, orders.tolist(), strict=True):
        for place, patch in enumerate(order):
            (y, x), (v, u) = (divmod(place, 4), divmod(patch, 4))
            assert torch.equal(
                made[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2], image[:, 2 * v : 2 * v + 2, 2 * u : 2 * u + 2]
            )


def test_loss_by_hand():
    clean, attacked = (rng.normal((SIZE, 4), 0, name).double() for name in ("clean", "attacked"))
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    logs = [np.log(np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True)) for x in (clean, attacked)]
    wanted = -sum(log[i, label] for log in logs for i, label in enumerate(labels.tolist())) / (2 * SIZE)
    assert pretext_loss(clean, attacked, labels).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("name", "classes"), [("rotation", 4), ("jigsaw", 31)])
def test_the_changed_image_is_attacked_in_eval_mode_and_passes_apart_from_the_clean_one(name, classes):
    objective, trained = started(name)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    images, moved = (prepared := objective.prepare(trained, batch(), noise, FIRST)).images
    labels = prepared.labels
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    assert trained.head.out_features == classes and labels.min() >= 0 and labels.max() < classes
    change = rotate_quarters if name == "rotation" else shuffle_patches
    drawn = labels if name == "rotation" else trained.orders[labels]
    assert torch.equal(images, change(batch().images[0], drawn))
    assert (moved - images).flatten(1).norm(dim=1).max() <= 0.5 + 1e-9 and moved.min() >= 0
    trained.eval()
    losses = [functional.cross_entropy(trained(x), labels) for x in (images, moved)]
    assert losses[1] > losses[0]
    trained.train()
    apart = [functional.cross_entropy(copy.deepcopy(trained)(x), labels) for x in (images, moved)]
    loss, _ = objective(trained, prepared, noise, FIRST)
    torch.testing.assert_close(loss, sum(apart) / 2, rtol=1e-9, atol=0)
    assert objective.exported_model(trained) is trained.features


def test_classes_are_drawn_evenly_and_the_right_order_more_often():
    def counts(name, size=2000):
        objective, trained = started(name)
        many = torch.zeros(size, 3, 8, 8).double()
        drawn = lambda purpose, copy: rng.normal((size, 3, 1, 1), 0, purpose, copy).double()  # noqa: E731
        return torch.bincount(objective.pose(trained, many, drawn)[1])

    assert (counts("rotation") - 500).abs().max() < 80  # four deviations
    jigsaw = counts("jigsaw")
    assert len(jigsaw) == 31 and abs(jigsaw[0] - 258) < 60 and (jigsaw[1:] - 58).abs().max() < 32


def test_orders_are_the_seeds_and_lie_in_the_checkpoint():
    first, other = (started("jigsaw", seed=seed)[1].state_dict()["orders"] for seed in (0, 1))
    assert torch.equal(first, started("jigsaw", seed=0)[1].orders) and not torch.equal(first, other)
    assert first[0].tolist() == list(range(16))
    assert all(sorted(order) == list(range(16)) for order in first.tolist())


def test_a_grid_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ConfigError, match="grid=3 does not divide images of 8"):
        started("jigsaw", grid=3)
