import math

import pytest
import torch
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import single
from robust_transfer.objectives import Progress, build, sinkhorn, swav_loss
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.schedules import set_lr
from robust_transfer.training.step import TrainStep
from small_model import small_model
from steps import assert_same_value_and_gradient
from training_jobs import make_method, make_runtime


def drawn(name, *shape):
    return rng.normal(shape, 0, name).double()


def table_by_loops(scores, epsilon, iterations):
    """Rows are prototypes: divide them, then the columns, by their sums, again and again."""
    rows = [[math.exp(score / epsilon) for score in column] for column in scores.T.tolist()]
    for _ in range(iterations):
        rows = [[value / sum(row) / len(rows) for value in row] for row in rows]
        sums = [sum(row[i] for row in rows) for i in range(len(scores))]
        rows = [[value / total / len(scores) for value, total in zip(row, sums, strict=True)] for row in rows]
    return len(scores) * torch.tensor(rows).double().T


@pytest.mark.parametrize("iterations", [1, 3])
def test_assignments_against_loops(iterations):
    scores = drawn("scores", 6, 4).clamp(-1, 1)
    found = sinkhorn(scores, 0.2, iterations)
    torch.testing.assert_close(found, table_by_loops(scores, 0.2, iterations))
    torch.testing.assert_close(found.sum(1), torch.ones(6).double())


def test_many_iterations_use_all_prototypes_alike_and_small_epsilon_does_not_overflow():
    scores = drawn("scores", 6, 4).clamp(-1, 1)
    torch.testing.assert_close(sinkhorn(scores, 0.3, 300).sum(0), torch.full((4,), 1.5).double())
    assert torch.isfinite(sinkhorn(scores.float(), 0.002, 3)).all()
    torch.testing.assert_close(sinkhorn(scores + 7, 0.1, 3), sinkhorn(scores, 0.1, 3))


def test_loss_and_gradient_against_loops():
    assigned = [torch.softmax(drawn(f"assigned{a}", 3, 4), 1) for a in range(2)]

    def loops(*scores):
        total, count = 0.0, 0
        for a, wanted in enumerate(assigned):
            for v, of_view in enumerate(scores):
                if v != a:
                    for q, s in zip(wanted, of_view, strict=True):
                        powers = torch.exp(s / 0.3)
                        total = total - sum(q * torch.log(powers / powers.sum()))
                        count += 1
        return total / count

    views = [drawn(f"view{v}", 3, 4) for v in range(3)]
    assert_same_value_and_gradient(lambda *scores: swav_loss(scores, assigned, 0.3), loops, *views)
    same = torch.zeros(3, 4).double()
    even = torch.full((3, 4), 0.25).double()
    assert swav_loss([same] * 3, [even] * 2, 0.1).item() == pytest.approx(math.log(4))


SIZE = 4


def step_of(**changes):
    config = make_method("swav", batch_size=SIZE, weight_decay=0.1, **changes)
    objective = build(config)
    trained = objective.training_model(small_model(0).double(), {})
    optimizer = build_optimizer(objective.param_groups(trained), config)
    set_lr(optimizer, 0.1)
    return TrainStep(trained, optimizer, objective, config, make_runtime(), single("cpu")), objective, trained


def batch():
    def view(side, number):
        keyed = rng.generator(0, "view", number)
        return torch.randint(0, 256, (SIZE, 3, side, side), dtype=torch.uint8, generator=keyed)

    views = (view(8, 0), view(8, 1), view(4, 2))
    return Batch(views, torch.zeros(SIZE, dtype=torch.int64), torch.arange(SIZE), epoch=0)


def at(step):
    return Progress(step=step, total=20, epoch=0, steps_per_epoch=5)


def test_prototypes_stay_at_unit_length_until_they_are_set_free():
    step, _, trained = step_of(freeze_steps=2)
    before = trained.prototypes.weight.detach().clone()
    for number in range(2):
        step(batch(), at(number))
    torch.testing.assert_close(trained.prototypes.weight, functional.normalize(before, dim=1))
    assert trained.prototypes.weight not in step.optimizer.state
    step(batch(), at(2))
    assert not torch.equal(trained.prototypes.weight, functional.normalize(before, dim=1))


def test_the_queue_holds_the_last_projections_and_is_read_when_full(monkeypatch):
    step, objective, trained = step_of(freeze_steps=9, queue_size=6)
    rows = []
    module = __import__("robust_transfer.objectives.swav", fromlist=["sinkhorn"])
    whole = module.sinkhorn
    monkeypatch.setattr(
        module, "sinkhorn", lambda scores, *rest: (rows.append(len(scores)), whole(scores, *rest))[1]
    )
    entered = []
    for number in range(3):
        call = objective.after_backward
        monkeypatch.setattr(
            objective,
            "after_backward",
            lambda *given, call=call: (entered.append(objective.projections[1]), call(*given)),
        )
        step(batch(), at(number))
        monkeypatch.setattr(objective, "after_backward", call)
    assert rows == [4, 4, 4, 4, 10, 10]  # 8 images have passed before the third step
    everything = torch.cat(entered)  # 12 keys in a ring of 6
    torch.testing.assert_close(trained.queue[1], everything[6:])
    torch.testing.assert_close(trained.queue[1].norm(dim=1), torch.ones(6).double())
