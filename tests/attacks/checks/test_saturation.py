import pytest
import torch
from torch import nn

from robust_transfer.attacks import autopgd
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError

SETTINGS = {"eps": 0.3, "num_steps": 30, "batch_size": 16}


class Scaled(nn.Module):
    def __init__(self, model, scale):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, images):
        return self.scale * self.model(images)


def test_saturated_cross_entropy_is_noticed_and_attacked_again(model, images, labels):
    saturated = Scaled(model, 1e5)
    naive = autopgd(saturated, images, labels, guards="off", **SETTINGS)
    honest = autopgd(model, images, labels, loss="dlr", **SETTINGS)
    found = autopgd(saturated, images, labels, **SETTINGS)
    assert naive.robust.sum() > honest.robust.sum(), "the trap is set: robustness is overestimated"
    assert [flag.split(":")[0] for flag in found.flags] == ["saturated"]
    assert torch.equal(found.robust, honest.robust & naive.robust)


def test_two_classes_are_attacked_again_with_the_margin(model, images, labels):
    with rng.global_state(0, "two"):
        two = nn.Sequential(model, nn.Linear(6, 2))
    with torch.no_grad():
        labels = two(images).argmax(1)
    honest = autopgd(two, images, labels, **SETTINGS)
    found = autopgd(Scaled(two, 1e7), images, labels, **SETTINGS)
    assert [flag.split(":")[0] for flag in found.flags] == ["saturated"]
    assert abs(int(found.robust.sum()) - int(honest.robust.sum())) <= 1


class FlatFor(nn.Module):
    """Cuts the gradient of images whose first pixel is above a threshold, as a mask would."""

    def __init__(self, model, threshold):
        super().__init__()
        self.model, self.threshold = model, threshold

    def forward(self, images):
        cut = (images[:, 1].amax((1, 2)) > self.threshold).view(-1, 1)
        logits = self.model(images)
        return torch.where(cut, logits.detach(), logits)


@pytest.fixture
def one_in_many(model, images, labels):
    """150 dim images with a gradient and, in the middle, one bright one without: its maximum is above 0.9."""
    dim = (images.repeat(4, 1, 1, 1)[:151] * 0.5).clamp(0, 0.8)
    dim[1, 1, 0, 0] = 1.0
    with torch.no_grad():
        return FlatFor(model, 0.95), dim, model(dim).argmax(1)


def test_few_images_without_gradient_are_flagged(one_in_many):
    model, images, labels = one_in_many
    result = autopgd(model, images, labels, eps=0.04, norm="linf", num_steps=5, batch_size=64)
    assert [flag.split(":")[0] for flag in result.flags] == ["zero_gradient"]
    assert "1 of 151" in result.flags[0]


def test_one_percent_without_gradient_is_refused(one_in_many):
    model, images, labels = one_in_many
    with pytest.raises(EvaluationError, match=r"^zero_gradient:.*(?s:.*)BPDA"):
        autopgd(model, images[:100], labels[:100], eps=0.04, norm="linf", num_steps=5, batch_size=64)


def test_a_flat_dlr_is_flagged(images):
    """Others that tie leave DLR constant at -1, whatever the margin does."""

    class Tied(nn.Module):
        def forward(self, x):
            mean = x.mean((1, 2, 3))
            return torch.stack([mean + 1, -mean, -mean], 1)

    result = autopgd(
        Tied(), images, torch.zeros(40, dtype=torch.int64), loss="dlr", num_steps=5, batch_size=16
    )
    assert result.flags == ["flat_loss: the attacked loss had no usable gradient on 40 of 40 images"]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_saturated_cross_entropy_is_attacked_as_hard_as_if_it_were_not(model, images, labels, scale):
    """DLR alone leaves images that cross-entropy of the same model at another scale breaks.

    Whoever is left has been through three runs: saturated, by DLR, and by cross-entropy of rescaled logits.
    """
    plain = autopgd(model, images, labels, **SETTINGS)
    found = autopgd(Scaled(model, scale), images, labels, **SETTINGS)
    assert found.flags[0].startswith("saturated")
    assert int(found.robust.sum()) <= int(plain.robust.sum())
    left = [i for i, robust in enumerate(found.robust.tolist()) if robust and "saturated" in found.notes[i]]
    runs = found.gradient_steps[left] / (SETTINGS["num_steps"] + 1)
    assert len(left) and set(runs.tolist()) == {3.0}
