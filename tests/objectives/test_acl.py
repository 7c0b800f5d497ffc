"""ACL and DynACL: routes of BatchNorm, losses against loops, the inner attack, what is exported."""

import copy
import math

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.data.views import ViewRecipe
from robust_transfer.objectives import Progress, build, dynacl_schedule, nt_xent
from robust_transfer.objectives.routed_batchnorm import add_routes, of_route, routed, set_routes
from robust_transfer.training.activation_checkpointing import checkpoint_blocks
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method

SIZE = 4


def started(name, **changes):
    objective = build(make_method(name, **changes))
    trained = objective.training_model(small_model(0).double(), {})
    for number, parameter in enumerate(trained.parameters()):  # the routes differ
        parameter.data += 0.05 * rng.normal(parameter.shape, 0, "moved", number).double()
    return objective, trained.train()


def views():
    images = torch.rand(2, SIZE, 3, 8, 8, generator=rng.generator(0, "views")).double()
    return whole(*images, torch.zeros(SIZE, dtype=torch.int64))


def noise(purpose, copy):
    return rng.normal((SIZE, 3, 8, 8), 0, purpose, copy).double()


def loop(a, b, temperature):
    """NT-Xent with loops."""
    rows = [row / row.norm() for row in torch.cat((a, b))]
    total = 0.0
    for i, row in enumerate(rows):
        others = sum(math.exp(row @ other / temperature) for k, other in enumerate(rows) if k != i)
        total -= math.log(math.exp(row @ rows[(i + len(a)) % len(rows)] / temperature) / others)
    return total / len(rows)


def alone(trained, route):
    """The network of one route as a copy without routes."""
    return copy.deepcopy(of_route(trained, route)).train()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_one_pass_over_two_routes_is_a_pass_of_each_network(checkpointed):
    routed_model = small_model(3).double().train()
    images = views().images
    plain = [copy.deepcopy(routed_model) for _ in range(2)]
    add_routes(routed_model, 2)
    if checkpointed:
        checkpoint_blocks(routed_model)
    set_routes(routed_model, ((0, SIZE), (1, SIZE)))
    together = routed_model(torch.cat(images))
    apart = torch.cat([model(view) for model, view in zip(plain, images, strict=True)])
    torch.testing.assert_close(together, apart)
    for output in (together, apart):
        (output.square() * torch.arange(1.0, 1 + 2 * SIZE).view(-1, 1)).sum().backward()
    for route, model in enumerate(plain):
        found = of_route(routed_model, route)
        assert list(found.state_dict()) == list(model.state_dict())
        for (name, value), wanted in zip(found.named_parameters(), model.parameters(), strict=True):
            shared = "bn" not in name and "downsample.1" not in name
            gradient = sum(m.get_parameter(name).grad for m in plain) if shared else wanted.grad
            torch.testing.assert_close(value.grad, gradient, msg=name)
        for (name, value), wanted in zip(found.named_buffers(), model.buffers(), strict=True):
            torch.testing.assert_close(value, wanted, msg=name)


def test_a_route_that_is_not_taken_stays_to_the_bit():
    model = small_model(0).train()
    add_routes(model, 2)
    before = copy.deepcopy(model)
    set_routes(model, ((1, SIZE),))
    with routed(model, ((0, SIZE),)):
        model(views().images[0].float()).sum().backward()
    norm, old = model.backbone.bn1, before.backbone.bn1
    assert norm.segments == ((1, SIZE),)
    assert torch.equal(norm.routes[1].running_mean, old.routes[1].running_mean)
    assert not torch.equal(norm.routes[0].running_mean, old.routes[0].running_mean)
    assert norm.routes[1].weight.grad is None and norm.routes[0].weight.grad is not None


def test_ds_is_the_mean_of_the_clean_and_the_attacked_pairs_loss():
    objective, trained = started("acl")
    batch = objective.prepare(trained, views(), noise, FIRST)
    clean, attacked = alone(trained, 0), alone(trained, 1)
    loss, _ = objective(trained, batch, noise, FIRST)
    pairs = [
        model(torch.cat(images)).detach().chunk(2)
        for model, images in ((clean, batch.images[:2]), (attacked, batch.images[2:]))
    ]
    wanted = sum(loop(*pair, 0.5) for pair in pairs) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-9)
    assert nt_xent(*pairs[0], 0.5).item() == pytest.approx(loop(*pairs[0], 0.5), rel=1e-12)


@pytest.mark.parametrize("variant", ["a2a", "a2s"])
def test_the_other_variants_are_one_pairs_loss(variant):
    objective, trained = started("acl", variant=variant)
    batch = objective.prepare(trained, views(), noise, FIRST)
    networks = [alone(trained, 0), alone(trained, 1)]
    loss, _ = objective(trained, batch, noise, FIRST)
    if variant == "a2a":
        a, b = networks[0](torch.cat(batch.images)).chunk(2)
    else:
        assert torch.equal(batch.images[0], views().images[1])  # the clean view
        a, b = (model(images) for model, images in zip(networks, batch.images, strict=True))
    assert loss.item() == pytest.approx(loop(a.detach(), b.detach(), 0.5), rel=1e-9)


def test_the_chosen_route_is_exported_under_plain_keys():
    for route, number in (("clean", 0), ("adversarial", 1)):
        objective, trained = started("acl", route=route)
        exported = objective.exported_model(trained)
        assert list(exported.state_dict()) == list(small_model(0).state_dict())
        assert exported.backbone.bn1.weight is trained.features.backbone.bn1.routes[number].weight
        assert exported.backbone.conv1.weight is trained.features.backbone.conv1.weight
        assert exported.eval()(views().images[0]).shape == (SIZE, 16)


def test_head_as_released():
    head = started("acl")[1].head
    biases = [layer.bias is not None for layer in head if isinstance(layer, nn.Linear)]
    assert biases == [True, False, False] and len(head) == 8
    assert [norm.routes[1].bias is not None for norm in (head[1], head[4], head[7])] == [True] * 3


def test_schedule_of_dynacl():
    found = [dynacl_schedule(epoch, 200) for epoch in (0, 49, 50, 100, 150, 199)]
    strengths, weights = zip(*found, strict=True)
    assert strengths == pytest.approx((1, 1, 0.75, 0.5, 0.25, 0.25))
    assert weights == pytest.approx((0, 0, 1 / 6, 1 / 3, 1 / 2, 1 / 2))


def test_views_of_dynacl_weaken_with_the_epoch():
    objective = build(make_method("dynacl", epochs=100))
    strong, weak = (objective.views(32, epoch)[0].keywords["recipe"] for epoch in (0, 50))
    assert strong == ViewRecipe(32, (1 - 0.9, 1.0), None, (0.4, 0.4, 0.4, 0.1), 0.8, 0.2)
    assert weak == ViewRecipe(32, (1 - 0.45, 1.0), None, (0.2, 0.2, 0.2, 0.05), 0.4, 0.1)


def test_dynacl_contrasts_a_network_with_its_slow_copy():
    objective, trained = started("dynacl", epochs=4, period=2)
    progress = Progress(step=7, total=10, epoch=2, steps_per_epoch=3)
    batch = objective.prepare(trained, views(), noise, progress)
    online, target = ([alone(net, route) for route in (0, 1)] for net in (trained.online, trained.target))
    loss, _ = objective(trained, batch, noise, progress)
    clean, attacked = (
        loop(online[r](batch.images[2 * r]).detach(), target[r](batch.images[2 * r + 1]).detach(), 0.5)
        for r in (0, 1)
    )
    weight = 2 / 3 * 0.5
    assert loss.item() == pytest.approx(((1 - weight) * clean + (1 + weight) * attacked) / 2, rel=1e-6)
    loss.backward()
    assert all(parameter.grad is None for parameter in trained.target.parameters())
    before = copy.deepcopy(trained.target)
    with objective.around_step(trained, None, progress), torch.no_grad():
        for parameter in trained.online.parameters():
            parameter.add_(1.0)
    pairs = zip(trained.target.parameters(), before.parameters(), trained.online.parameters(), strict=True)
    for found, old, new in pairs:
        torch.testing.assert_close(found.detach(), 0.99 * old + 0.01 * new.detach())
    exported = objective.exported_model(trained)
    assert exported.backbone.bn1.weight is trained.target.features.backbone.bn1.routes[1].weight
