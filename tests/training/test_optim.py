import math

import pytest
import torch
from torch import nn

from robust_transfer.config.schedules import CosineSchedule, StepSchedule
from robust_transfer.config.schema import identity
from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.schedules import Plateau, lr_at, set_lr
from training_jobs import make_method, plateau


def rates(config, steps, *, steps_per_epoch=10, total_steps=None, drops=0):
    return [
        lr_at(step, config, steps_per_epoch=steps_per_epoch, total_steps=total_steps, drops=drops)
        for step in steps
    ]


def test_step_schedule_falls_every_step_epochs():
    config = make_method("st", lr=0.01, schedule=StepSchedule(step_epochs=50, gamma=0.1), epochs=150)
    found = rates(config, [0, 499, 500, 999, 1000, 1499])
    assert found == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])


def test_cosine_with_warmup():
    config = make_method("st", lr=4.8, schedule=CosineSchedule(), warmup_epochs=1.0)
    found = rates(config, range(30), total_steps=30)
    assert found[:10] == pytest.approx([4.8 * (i + 1) / 10 for i in range(10)])
    assert found[10:] == pytest.approx([2.4 * (1 + math.cos(math.pi * i / 20)) for i in range(20)])
    assert rates(config, [20], total_steps=30) == pytest.approx([2.4])


def test_plateau_rate_depends_on_the_drops_alone():
    config = make_method("at", lr=0.01, schedule=plateau(gamma=0.1))
    assert [rates(config, [step], drops=d)[0] for step, d in ((0, 0), (5, 1), (999, 2))] == pytest.approx(
        [1e-2, 1e-3, 1e-4]
    )


def drop_epochs(scores, patience, max_drops):
    """The rule told in another way: look back from every epoch. Returns the epochs of all events."""
    events, last_event = [], 0
    for epoch in range(1, len(scores) + 1):
        best_at = scores.index(max(scores[:epoch])) + 1
        if epoch - max(best_at, last_event) >= patience and epoch > best_at:
            events.append(epoch)
            last_event = epoch
            if len(events) == max_drops + 1:
                break
    return events


@pytest.mark.parametrize("seed", range(8))
def test_plateau_against_the_rule_told_backwards(seed):
    scores = torch.rand(40, generator=rng.generator(seed, "scores")).tolist()
    rule, events = Plateau(patience=3, max_drops=2), []
    for epoch, score in enumerate(scores, start=1):
        drops = rule.drops
        ended = rule.update(score)
        if ended or rule.drops > drops:
            events.append(epoch)
        if ended:
            break
    assert events == drop_epochs(scores, 3, 2)


def test_plateau_goes_on_from_its_state():
    scores = [0.1, 0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5]
    whole = Plateau(2, 1)
    ends = [whole.update(score) for score in scores]
    first = Plateau(2, 1)
    assert [first.update(score) for score in scores[:4]] == ends[:4]
    second = Plateau(2, 1)
    second.restore(first.state())
    assert [second.update(score) for score in scores[4:]] == ends[4:]
    # Events at epochs 4 (drop) and 7 (end).
    assert ends[:7] == [False] * 6 + [True]


def parameters():
    weight = nn.Parameter(rng.normal((3, 4), 0, "weight"))
    bias = nn.Parameter(rng.normal((3,), 0, "bias"))
    return weight, bias


def test_lars_leaves_biases_out_of_decay_and_trust_ratio():
    config = make_method("simclr", lr=0.5, momentum=0.9, weight_decay=0.1)
    weight, bias = parameters()
    expected = [weight.detach().double().clone(), bias.detach().double().clone()]
    buffers = [torch.zeros_like(value) for value in expected]
    optimizer = build_optimizer([{"params": [weight, bias]}], config)
    for step in range(3):
        gradients = [rng.normal((3, 4), step, "g"), rng.normal((3,), step, "h")]
        weight.grad, bias.grad = (g.clone() for g in gradients)
        optimizer.step()
        w, g = expected[0], gradients[0].double()
        trust = 0.001 * w.norm() / (g.norm() + 0.1 * w.norm())
        buffers[0] = 0.9 * buffers[0] + trust * (g + 0.1 * w)
        buffers[1] = 0.9 * buffers[1] + gradients[1].double()
        expected = [value - 0.5 * buffer for value, buffer in zip(expected, buffers, strict=True)]
    torch.testing.assert_close(weight.detach().double(), expected[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(bias.detach().double(), expected[1], rtol=1e-5, atol=1e-7)


def test_larc_scales_and_decays_every_tensor():
    """A bias at 0 has no ratio: its first step is at the whole rate. What has no gradient stays."""
    config = make_method("simclr", optimizer="larc", lr=0.5, momentum=0.9, weight_decay=0.1)
    weight, bias = parameters()
    zero, still = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(2))
    tensors = [weight, bias, zero]
    expected = [value.detach().double().clone() for value in tensors]
    buffers = [torch.zeros_like(value) for value in expected]
    optimizer = build_optimizer([{"params": [*tensors, still]}], config)
    for step in range(3):
        for number, value in enumerate(tensors):
            gradient = rng.normal(tuple(value.shape), step, "g", number)
            value.grad = gradient.clone()
            w, g = expected[number], gradient.double()
            trust = 0.001 * w.norm() / (g.norm() + 0.1 * w.norm()) if w.norm() > 0 else 1.0
            buffers[number] = 0.9 * buffers[number] + trust * (g + 0.1 * w)
            expected[number] = w - 0.5 * buffers[number]
        optimizer.step()
    for value, wanted in zip(tensors, expected, strict=True):
        torch.testing.assert_close(value.detach().double(), wanted, rtol=1e-5, atol=1e-7)
    assert torch.equal(still.detach(), torch.ones(2))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_hand(nesterov):
    config = make_method("st", momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    weight, bias = parameters()
    value, buffer = weight.detach().double().clone(), torch.zeros(3, 4, dtype=torch.float64)
    optimizer = build_optimizer([{"params": [weight, bias]}], config)
    for step, lr in enumerate((0.5, 0.1)):
        set_lr(optimizer, lr)
        weight.grad, bias.grad = rng.normal((3, 4), step, "g"), torch.zeros(3)
        gradient = weight.grad.double() + 0.01 * value
        buffer = gradient if step == 0 else 0.9 * buffer + gradient
        value = value - lr * (gradient + 0.9 * buffer if nesterov else buffer)
        optimizer.step()
    torch.testing.assert_close(weight.detach().double(), value, rtol=1e-5, atol=1e-7)


def test_frozen_parameters_are_left_out():
    weight, bias = parameters()
    bias.requires_grad_(False)
    optimizer = build_optimizer([{"params": [weight, bias]}], make_method("st"))
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(weight)]


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_adamw_and_lamb_by_hand(name):
    """AdamW: Loshchilov and Hutter 2019, algorithm 2. LAMB: You et al. 2020, algorithm 2, without the biases'
    correction, as in version 3."""
    config = make_method("st", optimizer=name, lr=0.5, momentum=0.9, beta2=0.99, weight_decay=0.1)
    weight, bias = parameters()
    value = weight.detach().double().clone()
    first, second = torch.zeros_like(value), torch.zeros_like(value)
    optimizer = build_optimizer([{"params": [weight, bias]}], config)
    for step in range(1, 4):
        gradient = rng.normal((3, 4), step, "g")
        weight.grad, bias.grad = gradient.clone(), torch.zeros(3)
        optimizer.step()
        first = 0.9 * first + 0.1 * gradient.double()
        second = 0.99 * second + 0.01 * gradient.double() ** 2
        if name == "adamw":
            corrected = (first / (1 - 0.9**step)) / ((second / (1 - 0.99**step)).sqrt() + 1e-8)
            value = value - 0.5 * 0.1 * value - 0.5 * corrected
        else:
            update = first / (second.sqrt() + 1e-6) + 0.1 * value
            value = value - 0.5 * value.norm() / update.norm() * update
    torch.testing.assert_close(weight.detach().double(), value, rtol=1e-4, atol=1e-6)


def test_fields_of_other_optimisers_are_in_no_key_and_contradictions_are_refused():
    fields = identity(make_method("st", beta2=0.5))
    assert "beta2" not in fields and identity(make_method("st", optimizer="lamb", beta2=0.5))["beta2"] == 0.5
    assert not {"clip_grad_norm", "label_smoothing", "mixup"} & set(fields), "older stages keep their keys"
    with pytest.raises(ConfigError, match=r"nesterov=true with .*optimizer=adamw"):
        make_method("st", optimizer="adamw", nesterov=True).check("finetune")
