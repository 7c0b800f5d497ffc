"""MoCo against loops in float64: the loss, the queue, groups of BatchNorm, what a step moves."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.objectives import build, enqueue, info_nce
from robust_transfer.objectives.grouped_batchnorm import GroupedBatchNorm, group_norms, without_groups
from small_model import small_model
from steps import FIRST, whole
from training_jobs import make_method


def vectors(name, count, size=5):
    return 2 * rng.normal((count, size), 0, name).double()


def loop(queries, keys, queue, temperature):
    unit = [[row / row.norm() for row in part] for part in (queries, keys, queue)]
    total = 0.0
    for query, key in zip(unit[0], unit[1], strict=True):
        others = sum(math.exp(query @ other / temperature) for other in unit[2])
        own = math.exp(query @ key / temperature)
        total -= math.log(own / (own + others))
    return total / len(queries)


def test_loss_by_loops_and_at_its_ends():
    q, k, queue = vectors("q", 4), vectors("k", 4), vectors("queue", 7)
    assert info_nce(q, k, queue, 0.2).item() == pytest.approx(loop(q, k, queue, 0.2), rel=1e-12)
    assert info_nce(q, k, queue[:0], 0.2).item() == pytest.approx(0, abs=1e-12)
    orthogonal = torch.eye(4).double()
    found = info_nce(orthogonal[:1], orthogonal[:1], orthogonal[1:], 0.5)
    assert found.item() == pytest.approx(math.log(1 + 3 * math.exp(-2)))


def test_gradient_reaches_the_queries_alone():
    q, k, queue = (vectors(name, 3).requires_grad_() for name in ("q", "k", "queue"))
    assert torch.autograd.gradcheck(lambda x: info_nce(x, k, queue, 0.3), (q,))
    info_nce(q, k, queue, 0.3).backward()
    assert k.grad is None and queue.grad is None


@pytest.mark.parametrize("counts", [(3, 3, 3, 3), (5, 2, 4), (12, 1), (17, 3)])
def test_the_queue_is_a_ring(counts):
    queue, position = torch.full((5, 1), -1.0), torch.tensor(0)
    ring, place, number = [-1.0] * 5, 0, 0.0
    for count in counts:
        keys = number + torch.arange(float(count)).unsqueeze(1)
        enqueue(queue, position, keys)
        for key in keys.flatten().tolist():
            ring[place] = key
            place = (place + 1) % 5
        number += count
        assert queue.flatten().tolist() == ring and position.item() == place


def test_groups_are_batchnorms_of_every_gth_image():
    plain, images = nn.BatchNorm2d(3).double(), rng.normal((6, 3, 4, 4), 0, "images").double()
    plain.weight.data, plain.bias.data = (rng.normal((3,), 0, n).double() for n in "wb")
    grouped, alone = GroupedBatchNorm(copy.deepcopy(plain), 3), [copy.deepcopy(plain) for _ in range(2)]
    found = grouped(images)
    for group, norm in enumerate(alone):
        torch.testing.assert_close(found[group::2], norm(images[group::2]))
    for name in ("running_mean", "running_var"):
        wanted = sum(getattr(norm, name) for norm in alone) / 2
        torch.testing.assert_close(getattr(grouped.norm, name), wanted)
    assert grouped.norm.num_batches_tracked == 1
    grouped.eval()
    assert torch.equal(grouped(images), grouped.norm(images))
    with pytest.raises(Exception, match="bn_group=4 does not divide the 6 images"):
        GroupedBatchNorm(plain, 4)(images)


def test_what_is_exported_has_plain_keys_and_the_same_tensors():
    model = small_model(0)
    keys = list(model.state_dict())
    group_norms(model, 2)
    exported = without_groups(model)
    assert list(exported.state_dict()) == keys
    assert exported.backbone.bn1.weight is model.backbone.bn1.norm.weight


def test_a_step_meets_the_queue_of_before_and_then_moves_copy_and_queue():
    objective, progress = build(make_method("moco", ema_decay=0.75)), replace(FIRST, step=2)
    trained = objective.training_model(small_model(0).double(), {}).train()
    images = torch.rand(2, 4, 3, 8, 8, generator=rng.generator(0, "views")).double()
    batch = whole(*images, torch.zeros(4, dtype=torch.int64))
    before, plain = trained.queue.clone(), copy.deepcopy(trained)
    target = copy.deepcopy(trained.target)
    with objective.around_step(trained, None, progress):
        loss, _ = objective(trained, batch, None, progress)
        loss.backward()
        assert torch.equal(trained.queue, before)
        with torch.no_grad():
            for parameter in trained.online.parameters():
                parameter.add_(1.0)
    order = objective._order(4, progress)
    assert sorted(order.tolist()) == [0, 1, 2, 3] and order.tolist() != [0, 1, 2, 3]
    keys = torch.empty(4, 8).double()
    keys[order] = plain.target(images[1][order])
    assert loss.item() == pytest.approx(loop(plain.online(images[0]).detach(), keys, before, 0.2), rel=1e-9)
    torch.testing.assert_close(trained.queue[:4], nn.functional.normalize(keys, dim=1))
    assert torch.equal(trained.queue[4:], before[4:]) and trained.queue_position == 4
    assert all(parameter.grad is None for parameter in trained.target.parameters())
    pairs = zip(trained.target.parameters(), target.parameters(), trained.online.parameters(), strict=True)
    for found, old, new in pairs:
        torch.testing.assert_close(found.detach(), 0.75 * old + 0.25 * new.detach())
    assert not objective.keys


def test_a_step_that_fails_leaves_no_keys_behind():
    objective = build(make_method("moco"))
    trained = objective.training_model(small_model(0), {})
    with pytest.raises(KeyboardInterrupt), objective.around_step(trained, None, FIRST):
        objective.keys.append(torch.zeros(1, 8))
        raise KeyboardInterrupt
    assert not objective.keys and trained.queue_position == 0
