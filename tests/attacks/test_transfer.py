"""Adversarial images of one model, judged on another."""

import pytest
import torch
from torch import nn

from robust_transfer.attacks import autopgd, threat, transfer
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError

SETTING = {"eps": 0.6, "num_steps": 10, "batch_size": 16}


@pytest.fixture
def planes(images):
    """Two linear models with almost the same planes, whose gradients are known."""
    with rng.global_state(0, "planes"):
        one = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        other = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with torch.no_grad():
        other[1].weight.copy_(one[1].weight + 0.1 * other[1].weight)
        other[1].bias.copy_(one[1].bias)
    return one, other


def test_the_points_are_those_that_the_source_likes_least(planes, images):
    """Of a linear source with two classes: eps along its gradient. The other model judges them."""
    source, judge = planes
    grey = images * 0.1 + 0.45
    with torch.no_grad():
        labels = judge(grey).argmax(1)
        across = source[1].weight[1] - source[1].weight[0]
        way = torch.where(labels.bool()[:, None], -across, across) / across.norm()
        # The length of that way at which half of the images are past the judge's plane.
        margin = (judge(grey) @ torch.tensor([-1.0, 1.0])).abs()
        slope = (way @ (judge[1].weight[1] - judge[1].weight[0])).abs()
        eps = float((margin / slope).median()) * 1.001
        worst = grey + eps * way.view_as(grey)
        expected = judge(worst).argmax(1) == labels
    assert 10 < int(expected.sum()) < 30 and worst.min() >= 0 and worst.max() <= 1
    found = transfer(judge, grey, labels, source=source, **{**SETTING, "eps": eps})
    torch.testing.assert_close(found.images, worst, rtol=0, atol=2e-3)
    assert (threat.distances(found.images, grey, norm="l2") <= eps * (1 + 1e-5)).all()
    assert int((found.robust != expected).sum()) <= 1


def test_a_model_whose_gradient_is_masked_is_broken_through_its_twin(model, images, labels):
    class Masked(nn.Module):
        def forward(self, x):
            return model(x).detach()

    clean = model(images).argmax(1) == labels
    found = transfer(Masked(), images, labels, source=model, **SETTING)
    white = autopgd(model, images, labels, **SETTING)
    assert found.robust.sum() < clean.sum() and white.robust.sum() <= found.robust.sum()
    assert torch.equal(found.clean_prediction == labels, clean)
    assert (found.gradient_steps[clean] == 11).all() and not found.gradient_steps[~clean].any()


def test_an_image_is_the_same_alone_and_among_others(model, images, labels):
    setting = {**SETTING, "shapes": "one", "num_restarts": 2}
    together = transfer(model, images, labels, source=model, **setting)
    alone = transfer(model, images[9:10], labels[9:10], source=model, index=[9], **setting)
    assert torch.equal(alone.images[0], together.images[9])


def test_another_number_of_classes_is_refused(model, images, labels):
    two = nn.Sequential(model, nn.Linear(6, 2))
    with pytest.raises(EvaluationError, match=r"^source: expected 6 classes \(found 2\)"):
        transfer(model, images, labels, source=two, **SETTING)
