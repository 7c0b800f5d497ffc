"""Distances against the closed form of a linear model, and curves against the attacks at single radii."""

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autopgd, minimal_norm, threat
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError

DUAL = {"l1": float("inf"), "l2": 2, "linf": 1}
EPS = {"l1": 1.0, "l2": 0.2, "linf": 0.02}
LONGER = {"l1": 1.1, "l2": 1.02, "linf": 1.02}


def shortest_in_box(across, grey, gaps):
    """The shortest L1 way over each plane: value after value to the box's edge, steepest first."""
    room = torch.where(across > 0, 1 - grey.flatten(1)[:, None], grey.flatten(1)[:, None])
    steepness, order = across.abs().sort(dim=2, descending=True)
    room = room.gather(2, order)
    gained, length = (steepness * room).cumsum(2), room.cumsum(2)
    last = (gained < gaps[..., None]).sum(2, keepdim=True).clamp(max=across.shape[2] - 1)
    over = gained.gather(2, last) - gaps[..., None]
    return (length.gather(2, last) - over / steepness.gather(2, last)).squeeze(2)


@pytest.mark.slow
@pytest.mark.parametrize("norm", EPS)
def test_distances_to_the_planes_of_a_linear_model_are_their_closed_form(norm, images):
    """The nearest of five planes: margin over the dual norm of the difference of weights."""
    with rng.global_state(0, "planes"):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    grey = images * 0.2 + 0.4  # far from the box, which would be in the way
    with torch.no_grad():
        logits, weight = net(grey), net[1].weight
        labels = logits.argmax(1)
        gaps = logits.gather(1, labels[:, None]) - logits
        across = weight[None] - weight[labels][:, None]
        planes = gaps / torch.linalg.vector_norm(across, ord=DUAL[norm], dim=2)
    if norm == "l1":
        planes = shortest_in_box(across, grey, gaps)
    expected = planes.nan_to_num(torch.inf).scatter(1, labels[:, None], torch.inf).amin(1).double()
    found = minimal_norm(net, grey, labels, norm=norm, eps=EPS[norm], batch_size=16)
    assert (found.distance > expected - 1e-5).all()
    assert (found.distance <= LONGER[norm] * expected + 1e-5).all()
    assert (net(found.images).argmax(1) != labels).all()


@pytest.mark.slow
@pytest.mark.parametrize("norm", EPS)
def test_attacks_at_single_radii_break_hardly_more(norm, model, images, labels):
    """APGD at a radius breaks at most one of 40 images that the curve calls robust there."""
    found = minimal_norm(model, images, labels, norm=norm, eps=EPS[norm])
    clean = model(images).argmax(1) == labels
    assert torch.equal(found.distance == 0, ~clean) and found.flags == []
    points = found.distance.isfinite() & clean
    again = threat.distances(found.images, images, norm=norm)
    torch.testing.assert_close(again[points], found.distance[points])
    assert (model(found.images).argmax(1) != labels)[points].all() and int(points.sum()) > 30
    for times in (0.5, 2.0):
        eps = times * EPS[norm]
        attacked = autopgd(model, images, labels, norm=norm, eps=eps, num_steps=50, guards="off")
        assert int(((found.distance > eps) & ~attacked.robust).sum()) <= 1
    accuracies = found.accuracy([0.0, 0.5 * EPS[norm], EPS[norm], 2 * EPS[norm]])
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[0] == clean.double().mean()
    assert accuracies[2] == found.robust.double().mean()


def test_a_point_that_only_a_faster_copy_misclassifies_is_no_point(model, images, labels):
    class Wrong(nn.Module):
        def forward(self, x):
            return model(x).roll(1, 1)

    found = minimal_norm(
        model, images, labels, guards="off", gradient_model=Wrong(), num_steps=3, num_targets=0
    )
    clean = model(images).argmax(1) == labels
    assert torch.equal(found.distance == 0, ~clean)
    points = found.distance.isfinite() & clean
    assert (model(found.images).argmax(1) != labels)[points].all()
    assert torch.equal(found.images[~points], images[~points]) and int((~points).sum()) > 10


def test_an_image_is_the_same_alone_and_among_others(model, images, labels):
    setting = {"num_steps": 10, "num_targets": 2, "batch_size": 16, "shapes": "one"}
    together = minimal_norm(model, images, labels, **setting)
    alone = minimal_norm(model, images[7:8], labels[7:8], index=[7], **setting)
    assert torch.equal(alone.images[0], together.images[7])


def test_guards_stand_before_the_search(model, images, labels):
    with pytest.raises(EvaluationError, match=r"^images:"):
        minimal_norm(model, images * 255, labels)
    with pytest.raises(EvaluationError, match="num_targets"):
        minimal_norm(model, images, labels, num_targets=-1)
