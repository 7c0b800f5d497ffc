import copy

import torch
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.objectives import build, twins_loss
from small_model import small_model
from steps import FIRST, assert_same_value_and_gradient, one_step, pgd_by_hand, whole
from training_jobs import make_method, references_like

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def drawn(name, *shape):
    return rng.normal(shape, 0, name).double()


def test_loss_and_gradient_against_loops():
    def loops(frozen, adaptive):
        def mean(rows, labels):
            terms = [torch.log(torch.exp(row).sum()) - row[y] for row, y in zip(rows, labels, strict=True)]
            return sum(terms) / len(terms)

        return 0.4 * mean(frozen, LABELS[:2]) + mean(adaptive, LABELS[2:])

    assert_same_value_and_gradient(
        lambda frozen, adaptive: twins_loss(frozen, adaptive, LABELS, 0.4),
        loops,
        drawn("frozen", 2, 4),
        drawn("adaptive", 4, 4),
    )


def started(**changes):
    """A source with statistics of its own, and the objective and network that begin from it."""
    config = make_method("twins", **changes)
    source = small_model(3).double()
    images = torch.rand(6, 3, 8, 8, generator=rng.generator(0, "images")).double()
    source.train()(images.flip(0) / 2)
    objective = build(config)
    trained = objective.training_model(copy.deepcopy(source), references_like(config, source))
    objective.train_mode(trained)
    return config, source, objective, trained, images


def test_a_step_is_that_of_two_networks_which_share_all_but_batchnorm():
    config, source, objective, trained, images = started(frozen_weight=0.7)
    noise = drawn("noise", 6, 3, 8, 8)
    attack = config.attack
    moved = pgd_by_hand(
        source, images, LABELS, noise, eps=attack.eps, num_steps=attack.num_steps, step_size=attack.step_size
    )
    loss, _ = one_step(objective, trained, whole(images, LABELS), lambda *_: noise)
    loss.backward()
    frozen, adaptive = copy.deepcopy(source).eval(), copy.deepcopy(source).train()
    first = functional.cross_entropy(frozen(moved[:3]), LABELS[:3])
    second = functional.cross_entropy(adaptive(moved[3:]), LABELS[3:])
    torch.testing.assert_close(loss, 0.7 * first + second)
    (0.7 * first + second).backward()
    found = dict(trained.named_parameters())
    for (name, one), other in zip(frozen.named_parameters(), adaptive.parameters(), strict=True):
        if name in found:  # shared: the gradients add up
            torch.testing.assert_close(found[name].grad, one.grad + other.grad, msg=name)
        else:
            layer, kind = name.rsplit(".", 1)
            torch.testing.assert_close(found[f"{layer}.routes.0.{kind}"].grad, other.grad, msg=name)
            torch.testing.assert_close(found[f"{layer}.routes.1.{kind}"].grad, one.grad, msg=name)


def test_twins_keep_the_sources_statistics_and_are_not_exported():
    _, source, objective, trained, images = started()
    draw = drawn("noise", 6, 3, 8, 8)
    one_step(objective, trained, whole(images, LABELS), lambda *_: draw, FIRST)
    exported = objective.exported_model(trained)
    assert list(exported.state_dict()) == list(source.state_dict())
    kept = dict(trained.named_buffers())
    for name, value in source.named_buffers():
        if name.rsplit(".", 1)[0].endswith(tuple("12")) or "downsample" in name:
            layer, kind = name.rsplit(".", 1)
            assert torch.equal(kept[f"{layer}.routes.1.{kind}"], value), name
    moved = exported.state_dict()["backbone.bn1.running_mean"]
    assert not torch.equal(moved, source.state_dict()["backbone.bn1.running_mean"])
