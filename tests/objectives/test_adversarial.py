import copy
import dataclasses

import pytest
import torch
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.objectives import build
from small_model import small_model
from steps import FIRST, one_step, pgd_by_hand, whole
from training_jobs import make_method


@pytest.fixture
def step():
    config = make_method("at")
    model = small_model(4).double()
    # Running statistics that are not the initial ones, so that the attack's eval mode shows.
    model.train()
    images = torch.rand(6, 3, 8, 8, generator=rng.generator(0, "images")).double()
    model(images)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    noise = rng.normal((6, 3, 8, 8), 0, "noise").double()
    return build(config), config.attack, model, images, labels, noise


def test_loss_is_the_cross_entropy_of_pgd_in_eval_mode(step):
    objective, attack, model, images, labels, noise = step
    adversarial = pgd_by_hand(
        model, images, labels, noise, eps=attack.eps, num_steps=attack.num_steps, step_size=attack.step_size
    )
    reference = copy.deepcopy(model)
    expected = functional.cross_entropy(reference(adversarial), labels)
    expected.backward()

    loss, metrics = one_step(objective, model, whole(images, labels), lambda purpose, copy: noise)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for (name, found), wanted in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-6, msg=name)
    # One pass in train mode: the attack's passes left no trace in the statistics.
    for (name, found), wanted in zip(model.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8, msg=name)
    assert 0 <= metrics["robust_accuracy"] <= 1


def test_attack_raises_the_loss_within_the_threat_and_gives_the_model_back(step):
    objective, attack, model, images, labels, noise = step
    model.backbone.bn1.eval()
    model.backbone.conv1.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = objective.perturbed(model, whole(images, labels), lambda purpose, copy: noise)
    assert ((changed - images).flatten(1).norm(dim=1) <= attack.eps + 1e-6).all()
    assert changed.min() >= 0 and changed.max() <= 1
    assert model.training and not model.backbone.bn1.training
    assert not model.backbone.conv1.weight.requires_grad and model.backbone.fc.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert functional.cross_entropy(model(changed), labels) > functional.cross_entropy(model(images), labels)


def test_use_best_trains_on_each_images_iterate_of_largest_loss(step):
    """Steps of the ball's whole diameter jump to and fro, so that the last iterate is often not the best."""
    _, attack, model, images, labels, noise = step
    attack = dataclasses.replace(attack, num_steps=4, step_size=2 * attack.eps)
    objective = build(make_method("at", attack=attack, use_best=True))
    reference, losses, iterates = copy.deepcopy(model).eval(), [], []
    for num_steps in range(attack.num_steps + 1):
        x = pgd_by_hand(
            model, images, labels, noise, eps=attack.eps, num_steps=num_steps, step_size=attack.step_size
        )
        iterates.append(x)
        losses.append(functional.cross_entropy(reference(x), labels, reduction="none"))
    best = torch.stack(losses).argmax(0)
    assert len(set(best.tolist())) > 1
    found = objective.prepare(model, whole(images, labels), lambda purpose, copy: noise, FIRST).images[0]
    torch.testing.assert_close(found, torch.stack(iterates)[best, torch.arange(6)], rtol=1e-6, atol=1e-8)
