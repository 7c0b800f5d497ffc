import math
from statistics import NormalDist

import pytest
import torch

from robust_transfer.core import rng
from robust_transfer.objectives import Progress, build, macer_loss, smoothed_cross_entropy
from small_model import small_model
from steps import assert_same_value_and_gradient, one_step, whole
from training_jobs import make_method

LABELS = torch.tensor([0, 1, 2, 0, 1])
VALUES = {"sigma": 0.5, "robustness_weight": 4.0}


def quantile(p):
    """Phi^-1 by the inverse error function, which the loss does not use."""
    return math.sqrt(2) * torch.erfinv(2 * p - 1)


def loops(logits, beta, margin, sigma=0.5, weight=4.0):
    copies, count, _ = logits.shape
    total = 0.0
    for b in range(count):
        label = int(LABELS[b])
        total = total - torch.log(sum(logits[m, b].softmax(0)[label] for m in range(copies)) / copies)
        votes = sum((beta * logits[m, b]).softmax(0) for m in range(copies)) / copies
        ranking = sorted(range(len(votes)), key=lambda k: -votes[k].item())
        xi = quantile(votes[ranking[0]]) - quantile(votes[ranking[1]])
        if ranking[0] == label and math.isfinite(xi.item()) and xi <= margin:
            total = total + weight * sigma / 2 * (margin - xi)
    return total / count


def near_the_labels(scale):
    return scale * rng.normal((2, 5, 4), 0, "logits").double() + torch.eye(4).double()[LABELS]


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize(("beta", "margin"), [(1.0, 8.0), (4.0, 2.0)])
def test_loss_and_gradient_against_loops(scale, beta, margin):
    assert_same_value_and_gradient(
        lambda x: macer_loss(x, LABELS, inverse_temperature=beta, margin=margin, **VALUES),
        lambda x: loops(x, beta, margin),
        near_the_labels(scale),
        tolerance=1e-8,
    )


def test_closed_form_of_two_classes_and_one_copy():
    u, beta = 0.3, 4.0
    xi = 2 * NormalDist().inv_cdf(1 / (1 + math.exp(-beta * u)))
    expected = math.log(1 + math.exp(-u)) + 4.0 * 0.5 / 2 * (8 - xi)
    logits = torch.tensor([[[u, 0.0]]], dtype=torch.float64)
    found = macer_loss(logits, torch.tensor([0]), inverse_temperature=beta, margin=8.0, **VALUES)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_images_that_are_wrong_or_sure_leave_the_classification_alone():
    wrong = -5 * torch.eye(4).double()[LABELS].expand(2, 5, 4)
    for logits in (wrong, -100 * wrong):
        logits = logits.float().requires_grad_()
        loss = macer_loss(logits, LABELS, inverse_temperature=16.0, margin=8.0, **VALUES)
        loss.backward()
        torch.testing.assert_close(loss, smoothed_cross_entropy(logits, LABELS))
        assert torch.isfinite(logits.grad).all()


def test_float32_agrees_with_float64_at_the_published_temperature():
    results = []
    for kind in (torch.float32, torch.float64):
        logits = near_the_labels(0.5).to(kind).requires_grad_()
        macer_loss(logits, LABELS, inverse_temperature=16.0, margin=8.0, **VALUES).backward()
        results.append(logits.grad.double())
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


def test_half_precision_is_widened_before_the_softmax():
    half = near_the_labels(1.0).bfloat16()
    settings = {"inverse_temperature": 16.0, "margin": 8.0, **VALUES}
    assert macer_loss(half, LABELS, **settings) == macer_loss(half.float(), LABELS, **settings)


def test_the_radius_counts_from_its_epoch_on():
    images, labels = torch.rand(5, 3, 8, 8, generator=rng.generator(0, "images")).double(), LABELS
    objective = build(make_method("macer", start_epoch=2, margin=8.0))

    def noise(purpose, copy):
        return rng.normal((5, 3, 8, 8), 0, purpose, copy).double()

    found, copies = [], torch.cat([images + 0.5 * noise("smoothing", m) for m in range(2)])
    for epoch in (1, 2):
        progress = Progress(step=0, total=10, epoch=epoch, steps_per_epoch=5)
        found.append(one_step(objective, small_model(3).double(), whole(images, labels), noise, progress)[0])
    logits = small_model(3).double()(copies).unflatten(0, (2, 5))
    torch.testing.assert_close(found[0], smoothed_cross_entropy(logits, labels))
    whole_loss = macer_loss(logits, labels, inverse_temperature=16.0, margin=8.0, **VALUES)
    torch.testing.assert_close(found[1], whole_loss)
    assert found[0] != found[1]
