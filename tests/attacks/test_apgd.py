import warnings
from functools import partial

import pytest
import torch
from torch import nn

from robust_transfer.attacks import apgd, autopgd, threat
from robust_transfer.attacks.losses import LOSSES
from robust_transfer.attacks.settings import AttackSettings
from robust_transfer.core import rng

REFERENCE_NORM = {"l1": "L1", "l2": "L2", "linf": "Linf"}
EPS = {"l1": 2.0, "l2": 0.3, "linf": 0.02}


@pytest.fixture
def reference():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pyautoattack.autopgd_base")


def feed(monkeypatch, draws):
    """Hand the reference prepared standard normal draws, one after another."""
    queue = iter(draws)
    monkeypatch.setattr(torch, "randn", lambda *a, **k: next(queue))
    monkeypatch.setattr(torch, "rand", lambda *a, **k: torch.special.ndtr(next(queue)))


def robust_by_reference(attack, model, images, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = attack.perturb(images, labels)
    with torch.no_grad():
        return (model(found).argmax(1) == labels) & (model(images).argmax(1) == labels)


def check_flags(result, expected):
    differs = result.robust != expected
    assert not (differs & ~result.near_tie).any()
    assert 0 < int(expected.sum()) < len(expected), "a test on images of one kind could not fail"


@pytest.mark.parametrize("norm", ["l2", *(pytest.param(n, marks=pytest.mark.slow) for n in ("l1", "linf"))])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_flags_are_those_of_the_reference(norm, loss, reference, model, images, labels, monkeypatch):
    noise = rng.normal((1, *images.shape), 0, "parity")
    correct = model(images).argmax(1) == labels
    options = {"norm": REFERENCE_NORM[norm], "eps": EPS[norm], "n_iter": 100, "loss": loss}
    attack = reference.APGDAttack(model, use_largereps=norm == "l1", **options)
    with monkeypatch.context() as patch:
        feed(patch, noise.repeat(4, 1, 1, 1, 1)[:, correct])  # for L1 it draws before each stage, unread
        patch.setattr(torch, "randn_like", lambda _: noise[0][correct])
        # The reference counts values that its sums leave 1e-8 from the image's as moved.
        patch.setattr(reference, "L0_norm", lambda x: (x.abs() > 1e-6).flatten(1).sum(1).float())
        expected = robust_by_reference(attack, model, images, labels)
    result = autopgd(
        model, images, labels, norm=norm, eps=EPS[norm], loss=loss, start_noise=noise, batch_size=16
    )
    check_flags(result, expected)


def test_in_l1_only_hits_in_the_ball_itself_count(model, images, labels):
    """Whoever is broken has been through the balls of three and two times the radius: 4 points in each."""
    result = autopgd(model, images, labels, norm="l1", eps=EPS["l1"], num_steps=10)
    broken = ~result.robust & (result.clean_prediction == labels)
    assert broken.any() and result.robust.any()
    assert int(result.gradient_steps[broken].min()) > 8


@pytest.mark.slow
def test_targeted_flags_are_those_of_the_reference(reference, model, images, labels, monkeypatch):
    """One draw for all images, since the reference draws anew for every target."""
    draw = rng.normal(images.shape[1:], 0, "parity")
    attack = reference.APGDAttack_targeted(model, norm="L2", eps=0.3, n_iter=50, n_target_classes=5)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, **k: draw.expand(shape))
        expected = robust_by_reference(attack, model, images, labels)
    noise = draw.expand(1, *images.shape)
    result = autopgd(
        model, images, labels, eps=0.3, num_steps=50, loss="dlr_targeted", start_noise=noise, batch_size=32
    )
    check_flags(result, expected)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("num_steps", [100, 13])
def test_without_leaving_early_the_points_are_the_reference_s(
    norm, num_steps, reference, model, images, labels, monkeypatch
):
    """All iterations on all images: the same operations in the same order, so the same numbers."""
    noise = rng.normal(images.shape, 0, "parity")
    theirs = reference.APGDAttack(model, norm=REFERENCE_NORM[norm], eps=EPS[norm], n_iter=num_steps)
    theirs.init_hyperparam(images)
    with monkeypatch.context() as patch:
        feed(patch, [noise])
        best, robust, best_loss, _ = theirs.attack_single_run(images, labels)
    settings = AttackSettings(
        norm=norm,
        eps=EPS[norm],
        num_steps=num_steps,
        num_restarts=1,
        loss="ce",
        num_eot=1,
        batch_size=len(images),
        seed=0,
        guards="off",
        new_rule=apgd.AutoSteps,
    )
    rule = apgd.AutoSteps(settings, images)
    rule.enter(torch.arange(len(images)), images, noise)
    for step in range(num_steps + 1):
        points = rule.points.detach().requires_grad_()
        loss = LOSSES["ce"](model(points), labels, labels)
        (gradient,) = torch.autograd.grad(loss.sum(), points)
        rule.advance(images, loss.detach(), gradient, torch.full((len(images),), step))
    assert 0 < int(robust.sum()) < len(images)
    torch.testing.assert_close(rule.best_loss, best_loss, atol=1e-6, rtol=0)
    torch.testing.assert_close(rule.best_points, best, atol=1e-6, rtol=0)


def test_checkpoints_are_where_the_paper_s_code_has_them():
    windows = apgd.checkpoint_windows(100)
    ends = [step for step, window in enumerate(windows) if window]
    assert ends == [22, 41, 57, 70, 80, 87, 93, 99]
    assert [windows[end] for end in ends] == [22, 19, 16, 13, 10, 7, 6, 6]
    assert len(apgd.checkpoint_windows(1)) == 2


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_linear_model_is_fooled_exactly_where_the_ball_crosses_the_plane(norm, images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    net[1].weight.data = rng.normal((2, 12), 0, "linear")
    net[1].bias.data.zero_()
    flat = images[:, :, :2, :2] * 0.2 + 0.4
    logits = net(flat).detach()
    w = (net[1].weight[1] - net[1].weight[0]).detach()
    distance = (logits[:, 1] - logits[:, 0]).abs() / (w.norm() if norm == "l2" else w.abs().sum())
    eps = float(distance.median())
    decided = (distance - eps).abs() > 1e-3 * eps
    result = autopgd(net, flat, logits.argmax(1), norm=norm, eps=eps, batch_size=16)
    assert torch.equal(result.robust[decided], (distance > eps)[decided])


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_what_a_result_says_is_true_of_its_images(norm, model, images, labels):
    result = autopgd(model, images, labels, norm=norm, eps=EPS[norm], num_steps=30, batch_size=16)
    logits = model(result.images).detach()
    assert result.images.min() >= 0 and result.images.max() <= 1
    assert result.distance.dtype == torch.float64
    assert torch.equal(result.distance, threat.distances(result.images, images, norm=norm))
    assert (result.distance <= EPS[norm] * (1 + 1e-5)).all()
    assert torch.equal(logits.argmax(1), result.adversarial_prediction)
    assert torch.equal(model(images).argmax(1), result.clean_prediction)
    assert torch.equal(
        result.robust, (result.clean_prediction == labels) & (result.adversarial_prediction == labels)
    )
    torch.testing.assert_close(result.loss, nn.functional.cross_entropy(logits, labels, reduction="none"))


def test_clean_mistakes_are_not_attacked(model, images, labels):
    result = autopgd(model, images, labels, eps=0.3, num_steps=10, batch_size=16)
    mistakes = result.clean_prediction != labels
    assert mistakes.any()
    assert not result.robust[mistakes].any() and not result.gradient_steps[mistakes].any()
    assert torch.equal(result.images[mistakes], images[mistakes])
    survivors = result.robust
    assert (result.gradient_steps[survivors] == 11).all() and (result.gradient_steps <= 11).all()


@pytest.mark.slow
@pytest.mark.parametrize("attack", [autopgd, partial(autopgd, loss="dlr_targeted", num_restarts=2)])
def test_batch_size_and_order_change_nothing(attack, model, images, labels):
    kwargs = {"eps": 0.3, "num_steps": 30, "guards": "off", "fast": False}
    small, large = (attack(model, images, labels, batch_size=size, **kwargs) for size in (7, 64))
    same = ~(small.near_tie | large.near_tie)
    assert same.float().mean() > 0.8
    assert torch.equal(small.robust[same], large.robust[same])
    order = torch.randperm(len(images), generator=rng.generator(0, "order"))
    shuffled = attack(model, images[order], labels[order], index=order, batch_size=7, **kwargs)
    assert torch.equal(shuffled.robust, small.robust[order])
    assert torch.equal(shuffled.images, small.images[order])


def test_another_seed_or_name_draws_other_noise(model, images, labels):
    kwargs = {"eps": 0.3, "num_steps": 2, "batch_size": 64, "guards": "off"}
    first = autopgd(model, images, labels, **kwargs)
    assert torch.equal(first.images, autopgd(model, images, labels, seed=0, **kwargs).images)
    assert not torch.equal(first.images, autopgd(model, images, labels, seed=1, **kwargs).images)
    names = torch.arange(len(images)) + 100
    assert not torch.equal(first.images, autopgd(model, images, labels, index=names, **kwargs).images)


def test_restarts_keep_what_an_earlier_one_found(model, images, labels):
    """The last restart must not overwrite an image that the first one broke."""
    kwargs = {"eps": 0.15, "num_steps": 3, "batch_size": 16, "guards": "off"}
    one = autopgd(model, images, labels, num_restarts=1, **kwargs)
    many = autopgd(model, images, labels, num_restarts=6, **kwargs)
    broken = ~one.robust
    assert not many.robust[broken].any() and torch.equal(many.images[broken], one.images[broken])
    assert torch.equal(many.gradient_steps[broken], one.gradient_steps[broken])
    assert (many.gradient_steps[many.robust] == 6 * 4).all()


def test_a_good_first_restart_and_a_bad_last_one(model, images, labels):
    """Noise of 0 in the last restart starts at the image itself; the first restart's hits must stay."""
    noise = torch.stack([rng.normal(images.shape, 0, "good"), torch.zeros(images.shape)])
    kwargs = {"eps": 0.3, "num_steps": 1, "batch_size": 16, "guards": "off"}
    both = autopgd(model, images, labels, num_restarts=2, start_noise=noise, **kwargs)
    first, last = (autopgd(model, images, labels, start_noise=part[None], **kwargs) for part in noise)
    assert torch.equal(both.robust, first.robust & last.robust)
    assert (first.robust != last.robust).any()


def test_frozen_batch_norm_is_given_back_frozen(model, images, labels):
    """`model.train()` after an attack would set a frozen BatchNorm free."""
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    autopgd(model, images, labels, eps=0.3, num_steps=2, batch_size=16)
    assert model.training and model[0].training and not model[1].training
    assert not model[0].bias.requires_grad and model[0].weight.requires_grad and model[0].weight.grad is None
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_each_restart_starts_from_its_own_noise(model, images, labels, monkeypatch):
    """One step from noise that is shared would make all restarts the same run."""
    drawn = []
    normal = rng.normal
    monkeypatch.setattr(rng, "normal", lambda *args: drawn.append(normal(*args)) or drawn[-1])
    kwargs = {"eps": 0.3, "num_steps": 1, "batch_size": 16, "guards": "off"}
    many = autopgd(model, images, labels, num_restarts=4, **kwargs)
    assert len(drawn) > len(images) and len({noise.sum().item() for noise in drawn}) == len(drawn)
    one = autopgd(model, images, labels, **kwargs)
    assert many.robust.sum() < one.robust.sum(), "a case in which another start breaks more"


def rule_after(*runs, num_steps=100, norm="l2"):
    """Feed a rule of one slot the losses of the points visited, run by run, and return it."""
    settings = AttackSettings(
        norm=norm, eps=1.0, num_steps=num_steps, loss="ce", batch_size=1, seed=0, guards="off",
        new_rule=apgd.AutoSteps,
    )  # fmt: skip
    image = torch.full((1, 1, 2, 2), 0.5)
    rule = apgd.AutoSteps(settings, image)
    for losses in runs:
        rule.enter(torch.tensor([0]), image, torch.ones_like(image))
        for step, loss in enumerate(losses):
            rule.advance(image, torch.tensor([loss]), torch.ones_like(image), torch.tensor([step]))
    return rule


def windows(*increases):
    """Losses of the windows of 22, 19, ... steps with so many increases each, the other steps falling."""
    values, last = [1.0], 1.0
    for size, rising in zip((22, 19, 16), increases, strict=False):
        for step in range(size):
            last += 1.0 if step < rising else -1e-3
            values.append(last)
    return values


def test_three_quarters_of_a_window_is_not_enough_increases():
    """0.75 x 22 = 16.5: 16 of 22 halve the step, 17 do not."""
    assert rule_after(windows(16)).step_size.item() == 1.0
    assert rule_after(windows(17)).step_size.item() == 2.0


def test_the_first_step_is_compared_with_zero_and_not_with_the_start():
    """The authors' code: a first loss above 0 counts as an increase even where the start's was larger."""
    falls_at_first = [5.0, 1.0] + [1.0 + 0.1 * k for k in range(1, 17)] + [2.0] * 5
    assert len(falls_at_first) == 23
    # 17 increases, the first among them, of 22: enough; 16 without it would halve the step.
    assert rule_after(falls_at_first).step_size.item() == 2.0
    below_zero = [value - 10 for value in falls_at_first]
    assert rule_after(below_zero).step_size.item() == 1.0


def test_a_best_loss_that_stands_still_halves_only_from_the_second_checkpoint_on():
    """Losses that rise from step to step and never reach the start's: no halving at the first checkpoint."""
    first = [100.0] + [1.0 + k for k in range(22)]
    assert rule_after(first).step_size.item() == 2.0
    second = first + [50.0 + k for k in range(19)]
    assert rule_after(second).step_size.item() == 1.0
    # After a halving, a checkpoint must not halve for a standstill again.
    third = second + [1.0 + k for k in range(16)]
    assert rule_after(third).step_size.item() == 1.0


def test_exactly_three_quarters_of_a_window_are_not_enough():
    """At 19 steps the window is 4: the authors' code halves at 3 increases, the paper's rule does not."""
    assert apgd.checkpoint_windows(19)[4] == 4
    assert rule_after([1.0, 2.0, 3.0, 4.0, 3.9], num_steps=19).step_size.item() == 1.0
    assert rule_after([1.0, 2.0, 3.0, 4.0, 5.0], num_steps=19).step_size.item() == 2.0


def test_a_refilled_slot_starts_anew():
    """After a run whose last checkpoint halved nothing, and one that stopped in the middle of a window."""
    rises = [1.0 + step for step in range(42)]
    stalls = [100.0] + [1.0 + step for step in range(22)]
    assert rule_after(rises, stalls).step_size.item() == rule_after(stalls).step_size.item() == 2.0
    few = [2.0] + [2.0 - step for step in range(22)]
    assert rule_after(rises[:15], few).step_size.item() == rule_after(few).step_size.item() == 1.0
