"""Smoothed labels and mixed images, against torch's label smoothing and against mixup by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives import Progress, build
from robust_transfer.objectives.soft_labels import mixed, smoothed
from small_model import small_model
from steps import FIRST, one_step, whole
from training_jobs import METHODS, make_method

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
IMAGES = torch.rand(6, 3, 8, 8, generator=rng.generator(0, "images"))
NOISE = rng.normal((6, 3, 8, 8), 0, "noise")


def test_cross_entropy_to_smoothed_labels_is_torchs():
    logits = rng.normal((6, 4), 0, "logits")
    found = functional.cross_entropy(logits, smoothed(LABELS, 4, 0.1))
    assert found.item() == pytest.approx(
        functional.cross_entropy(logits, LABELS, label_smoothing=0.1).item(), rel=1e-6
    )


def test_an_image_is_mixed_with_the_next_one():
    found = mixed(torch.tensor([1.0, 10.0, 100.0]), 0.75)
    assert found.tolist() == [0.75 + 2.5, 7.5 + 25.0, 75.0 + 0.25]


@pytest.mark.parametrize("name", ["st", "at", "gaussian"])
def test_a_mixed_batchs_loss_is_the_mixture_of_both_labels_losses(name):
    """Cross-entropy is linear in the labels: mixup's two terms are one pass with soft labels."""
    config = make_method(name, mixup=0.4)
    objective, model = build(config), small_model(4).double()
    batch = whole(IMAGES.double(), LABELS)
    seen = []

    class Seen(nn.Module):
        num_classes = 4

        def forward(self, images):
            seen.append(images)
            return model(images)

    loss, metrics = one_step(objective, Seen(), batch, lambda purpose, copy: NOISE.double())
    share = rng.numpy_generator("mixup", FIRST.step, seed=config.seed).beta(0.4, 0.4)
    logits = model(seen[-1])
    expected = share * functional.cross_entropy(logits, LABELS)
    expected += (1 - share) * functional.cross_entropy(logits, LABELS.roll(-1))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    if name == "st":
        torch.testing.assert_close(
            seen[-1], share * batch.images[0] + (1 - share) * batch.images[0].roll(-1, 0)
        )
    assert 0 <= next(iter(metrics.values())) <= 1


def test_the_share_is_a_steps_own():
    shares = []
    objective = build(make_method("st", mixup=0.4))
    for step in (3, 3, 4):
        progress = Progress(step=step, total=10, epoch=0, steps_per_epoch=5)
        views = objective.prepare(small_model(4), whole(IMAGES, LABELS), None, progress)
        shares.append(views.labels[0, 0].item())
    assert shares[0] == shares[1] != shares[2]


@pytest.mark.parametrize("name", METHODS)
def test_methods_whose_loss_is_more_than_a_cross_entropy_refuse_soft_labels(name):
    for changes in ({"label_smoothing": 0.1}, {"mixup": 0.2}):
        config = make_method(name, **changes)
        if config.spec.soft_labels:
            config.check("finetune")
            continue
        with pytest.raises(ConfigError, match=f"expected 0: the loss of {name} is not"):
            config.check("finetune")
