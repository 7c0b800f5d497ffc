import pytest
import torch
from torch.nn import functional

from linear_network import Plane, grey
from robust_transfer.config.eps_schedules import ConstantEps, EpochsEps
from robust_transfer.core import rng
from robust_transfer.objectives import Progress, build, smoothed_cross_entropy
from steps import FIRST, assert_same_value_and_gradient, one_step, whole
from training_jobs import make_method

LABELS = torch.tensor([0, 1, 1, 0])
SETTINGS = {"eps": 0.3, "num_steps": 2, "num_noise_samples": 3, "sigma": 0.5}


def noise(purpose, copy):
    return rng.normal((4, 3, 2, 2), 0, purpose, copy).double()


def test_smoothed_cross_entropy_against_loops():
    labels = torch.tensor([2, 0, 1])

    def loops(logits):
        total = 0.0
        for b, label in enumerate(labels):
            mean = sum(logits[m, b].exp()[label] / logits[m, b].exp().sum() for m in range(2)) / 2
            total = total - torch.log(mean)
        return total / 3

    logits = 2 * rng.normal((2, 3, 4), 0, "logits").double()
    assert_same_value_and_gradient(lambda x: smoothed_cross_entropy(x, labels), loops, logits)


def test_smoothed_cross_entropy_of_sure_and_wrong_copies_has_a_gradient():
    logits = (500 * rng.normal((2, 8, 5), 1, "logits")).requires_grad_()
    loss = smoothed_cross_entropy(logits, torch.arange(8) % 5)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert (logits.grad.abs().sum((0, 2)) > 0).any()


def test_attack_is_eps_along_the_plane_against_the_label_from_the_image_on():
    model, images = Plane(), grey(4)
    objective = build(make_method("smoothadv", **SETTINGS, eps_schedule=ConstantEps()))
    views = objective.prepare(model, whole(images, LABELS), noise, FIRST)
    assert len(model.modes) == 2 and not any(model.modes) and not any(model.trained)
    assert model.training and model.weight.requires_grad
    first = torch.cat([images + 0.5 * noise("smoothing", copy) for copy in range(3)])
    assert torch.equal(model.inputs[0], first)  # the attack starts at the image
    for image, found, label in zip(images, views.images[0], LABELS, strict=True):
        sign = 1 if label else -1
        torch.testing.assert_close(found - image, sign * 0.3 * model.towards_class_0(), rtol=0, atol=1e-9)


def test_loss_is_the_mean_cross_entropy_of_all_copies_under_the_noise_of_the_attack():
    model, images = Plane(), grey(4)
    objective = build(make_method("smoothadv", **SETTINGS, eps_schedule=ConstantEps()))
    batch = whole(images, LABELS)
    moved = objective.prepare(model, batch, noise, FIRST).images[0]
    loss, _ = one_step(objective, model, batch, noise)
    copies = [functional.cross_entropy(model(moved + 0.5 * noise("smoothing", m)), LABELS) for m in range(3)]
    torch.testing.assert_close(loss, sum(copies) / 3)


@pytest.mark.parametrize(("epoch", "eps"), [(0, 0.03), (4, 0.15), (9, 0.3), (50, 0.3)])
def test_radius_grows_with_the_epochs(epoch, eps):
    model, images = Plane(), grey(4)
    objective = build(make_method("smoothadv", **SETTINGS, eps_schedule=EpochsEps(epochs=10)))
    progress = Progress(step=0, total=None, epoch=epoch, steps_per_epoch=5)
    moved = objective.prepare(model, whole(images, LABELS), noise, progress).images[0] - images
    assert moved.flatten(1).norm(dim=1).tolist() == pytest.approx([eps] * 4)
