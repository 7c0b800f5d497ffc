import pytest
import torch
from torch import nn
from torch.nn import functional

from robust_transfer.attacks import perturb, pgd, threat
from robust_transfer.core import rng
from robust_transfer.core.choices import NORMS
from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.modes import eval_mode, no_param_grad


def linear(num_classes=2, seed="linear"):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))
    with torch.no_grad():
        net[1].weight.copy_(rng.normal((num_classes, 12), 0, seed))
        net[1].bias.zero_()
    return net


def cross_entropy(model, labels):
    return lambda points: functional.cross_entropy(model(points), labels, reduction="sum")


def grey(count=5):
    return torch.full((count, 3, 2, 2), 0.5)


@pytest.mark.parametrize("norm", NORMS)
def test_perturb_finds_the_optimum_of_a_linear_model(norm):
    net, eps = linear(), 0.05
    labels = torch.tensor([0, 1, 0, 1, 0])
    found = perturb(
        grey(), loss=cross_entropy(net, labels), norm=norm, eps=eps, num_steps=5, step_size=eps, start=None
    )
    w = (net[1].weight[1] - net[1].weight[0]).detach()
    for image, label in zip(found, labels, strict=True):
        up = w if label == 0 else -w
        best = eps * (up.sign() if norm == "linf" else up / up.norm())
        torch.testing.assert_close(image.flatten() - 0.5, best, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_perturb_stays_in_ball_and_box_and_changes_no_model(norm, model, images, labels):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = rng.normal(images.shape, 0, "start")
    with eval_mode(model), no_param_grad(model):
        loss = cross_entropy(model, labels)
        found = perturb(images, loss=loss, norm=norm, eps=0.3, num_steps=3, step_size=0.2, start=start)
    assert found.min() >= 0 and found.max() <= 1 and not found.requires_grad
    assert (threat.distances(found, images, norm=norm) <= 0.3 * (1 + 1e-5)).all()
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_image_is_perturbed_alike_in_any_batch(model, images, labels):
    """A mean loss with a guarded division would shrink the step as the batch grows."""
    model = model.double()
    kwargs = {"norm": "l2", "eps": 0.3, "num_steps": 3, "step_size": 0.2, "start": None}
    # Logits so small that gradients come near the guard of the division.
    model[6].weight.data.mul_(1e-6)
    together = perturb(images.double(), loss=cross_entropy(model, labels), **kwargs)
    alone = perturb(images[3:4].double(), loss=cross_entropy(model, labels[3:4]), **kwargs)
    torch.testing.assert_close(together[3:4], alone, atol=1e-9, rtol=0)
    assert float(threat.distances(alone, images[3:4], norm="l2")) > 0.25


class Ridge(nn.Module):
    """Wrong only where the first pixel lies in a narrow band; the loss still grows beyond it."""

    def forward(self, images):
        first = images[:, 0, 0, 0]
        wrong = (first > 0.58) & (first < 0.62)
        return torch.stack([-first + torch.where(wrong, -5.0, 5.0), first], 1)


def test_an_iterate_misclassified_on_the_way_counts():
    """Judging the last iterate alone calls this image robust: the attack walks through the wrong class."""
    images = grey(1)
    kwargs = {"norm": "linf", "eps": 0.4, "num_steps": 4, "step_size": 0.1}
    result = pgd(Ridge(), images, torch.tensor([0]), random_start=False, batch_size=2, **kwargs)
    last = perturb(images, loss=cross_entropy(Ridge(), torch.tensor([0])), start=None, **kwargs)
    assert int(Ridge()(last).argmax(1)) == 0, "the trap is set: the last iterate is right again"
    assert not result.robust.item() and result.adversarial_prediction.item() == 1
    assert int(Ridge()(result.images).argmax(1)) == 1
    assert result.gradient_steps.item() == 2


def test_pgd_needs_no_more_than_the_closed_form(images):
    """A linear model is fooled exactly where eps exceeds the distance to the plane."""
    net, count = linear(), 30
    flat = images[:count, :, :2, :2] * 0.2 + 0.4
    logits = net(flat).detach()
    labels = logits.argmax(1)
    w = (net[1].weight[1] - net[1].weight[0]).detach()
    distance = (logits[:, 1] - logits[:, 0]).abs() / w.norm()
    eps = float(distance.median())
    decided = (distance - eps).abs() > 0.02 * eps  # the last of 20 steps need not point straight ahead
    result = pgd(net, flat, labels, norm="l2", eps=eps, num_steps=20, batch_size=8)
    assert torch.equal(result.robust[decided], (distance > eps)[decided])


def test_settings_that_repeat_themselves_are_refused(model, images, labels):
    with pytest.raises(EvaluationError, match="repeats one run"):
        pgd(model, images, labels, random_start=False, num_restarts=2)
