"""BYOL against loops in float64, and what its step moves."""

import copy
import math

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.objectives import Progress, build, byol_loss, ema_decay
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method


def vectors(name, shape=(5, 7)):
    return 3 * rng.normal(shape, 0, name).double()


def by_hand(predictions, targets):
    total = 0.0
    for p, z in zip(predictions.tolist(), targets.tolist(), strict=True):
        p_length, z_length = (math.sqrt(sum(x * x for x in v)) for v in (p, z))
        total += sum((a / p_length - b / z_length) ** 2 for a, b in zip(p, z, strict=True))
    return total / len(predictions)


def test_loss_by_hand_and_at_its_ends():
    p, z = vectors("p"), vectors("z")
    assert byol_loss(p, z).item() == pytest.approx(by_hand(p, z), rel=1e-12)
    assert byol_loss(p, 3 * p).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(p, -p).item() == pytest.approx(4)
    assert byol_loss(p.float(), z.float()).item() == pytest.approx(by_hand(p, z), rel=1e-5)


def test_gradient_reaches_the_predictions_alone():
    p, z = vectors("p", (3, 4)).requires_grad_(), vectors("z", (3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: byol_loss(x, z), (p,))
    byol_loss(p, z).backward()
    assert z.grad is None


def test_loss_is_float32_for_halves_and_under_autocast():
    p, z = vectors("p").half(), vectors("z").half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = byol_loss(p, z)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_hand(p.double(), z.double()), rel=1e-5)


def test_decay_rises_from_its_base_to_one():
    found = [ema_decay(step, 4, 0.9) for step in range(5)]
    assert found == pytest.approx(
        [0.9, 1 - 0.05 * (1 + math.sqrt(0.5)), 0.95, 1 - 0.05 * (1 - math.sqrt(0.5)), 1]
    )
    assert ema_decay(2, 4, 0.99, 0.999) == pytest.approx(0.9945)


def started(**changes):
    config = make_method("byol", **changes)
    objective, model = build(config), small_model(0).double()
    return objective, objective.training_model(model, {})


def views():
    images = torch.rand(2, 4, 3, 8, 8, generator=rng.generator(0, "views")).double()
    return whole(*images, torch.zeros(4, dtype=torch.int64))


def test_both_directions_are_added_and_every_view_passes_alone():
    objective, trained = started()
    trained.train()
    batch = views()
    loss, metrics = objective(trained, batch, None, FIRST)
    online, target = trained.online, trained.target
    wanted = 0.0
    for seen, other in ((0, 1), (1, 0)):
        prediction = trained.predictor(online(batch.images[seen]))
        projection = target(batch.images[other])
        wanted += by_hand(prediction, projection)
    assert loss.item() == pytest.approx(wanted, rel=1e-10)
    assert 0 < metrics["projection_std"] < 1
    # two views each, here and by hand: the target counts its own batches
    for network in (online, target):
        assert network.features.backbone.bn1.num_batches_tracked == 4
    swapped = batch._replace(images=batch.images[::-1])
    assert objective(trained, swapped, None, FIRST)[0].item() == pytest.approx(wanted, rel=1e-10)


def test_heads_as_published():
    _, trained = started(projection_hidden=12, projection_dim=5)
    for head, inputs in ((trained.online.head, 16), (trained.predictor, 5)):
        first, norm, relu, last = head
        assert (first.in_features, first.out_features, last.out_features) == (inputs, 12, 5)
        assert first.bias is not None and last.bias is None
        assert isinstance(norm, nn.BatchNorm1d) and isinstance(relu, nn.ReLU)


@pytest.mark.parametrize("base", [0.0, 0.75, 1.0])
def test_the_target_follows_every_parameter_after_the_step_and_no_statistic(base):
    objective, trained = started(ema_decay=base)
    trained.train()
    loss, _ = objective(trained, views(), None, FIRST)
    loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in trained.target.parameters())
    before = copy.deepcopy(trained.target)
    progress = Progress(step=0, total=10, epoch=0, steps_per_epoch=5)
    with objective.around_step(trained, None, progress):
        with torch.no_grad():
            for parameter in trained.online.parameters():
                parameter.add_(1.0)  # the step, biases and shifts too
        assert all(map(torch.equal, trained.target.parameters(), before.parameters()))
    pairs = zip(trained.target.parameters(), before.parameters(), trained.online.parameters(), strict=True)
    for found, old, online in pairs:
        torch.testing.assert_close(found.detach(), base * old + (1 - base) * online.detach())
    assert all(map(torch.equal, trained.target.buffers(), before.buffers()))


def test_views_differ_as_published():
    first, second = (make.keywords["recipe"] for make in build(make_method("byol")).views(64, 0))
    assert (first.p_blur, first.p_solarize, second.p_blur, second.p_solarize) == (1.0, 0.0, 0.1, 0.2)
    assert first.jitter == second.jitter == (0.4, 0.4, 0.2, 0.1) and first.area == (0.08, 1.0)
    unblurred = build(make_method("byol", blur=False)).views(32, 0)
    assert [make.keywords["recipe"].p_blur for make in unblurred] == [0.0, 0.0]
