import copy

import pytest
import torch

from counted_steps import PROGRESS, SIZE, PassCounter, step_of
from robust_transfer.config.weights import AdversarialWeights
from robust_transfer.core import rng
from robust_transfer.models.normalized import Classifier
from robust_transfer.objectives import Progress, weight_perturbation
from robust_transfer.objectives.adversarial_weights import perturbed_weights

AWP = AdversarialWeights(radius=0.01, start_epoch=0)


def test_each_tensor_moves_along_its_gradient_by_a_fraction_of_its_length():
    weights = [rng.normal(shape, 0, "weights") for shape in ((4, 3, 3, 3), (5, 4), (5,))]
    gradients = [1e-6 * rng.normal(tuple(w.shape), 0, "gradients") for w in weights]
    before = copy.deepcopy((weights, gradients))
    moves = weight_perturbation(weights, gradients, 0.01)
    for move, weight, gradient in zip(moves[:2], weights, gradients, strict=False):
        wide, along = weight.double(), gradient.double()
        expected = 0.01 * wide.norm() * along / along.norm()
        torch.testing.assert_close(move.double(), expected, rtol=1e-5, atol=0)
    assert not moves[2].any()
    for kept, now in zip([*before[0], *before[1]], [*weights, *gradients], strict=True):
        assert torch.equal(kept, now)
    assert not weight_perturbation(weights[:1], [torch.zeros_like(weights[0])], 0.01)[0].any()


class Quadratic(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(rng.normal((3, 4), 0, "weight").double())
        self.shift = torch.nn.Parameter(rng.normal((3,), 0, "shift").double())

    def backward(self):
        self.zero_grad()
        (self.weight.square().sum() / 2 + self.shift.square().sum() / 2).backward()
        return {}


def test_step_on_a_quadratic_loss_in_closed_form():
    model, setting, lr = Quadratic(), AdversarialWeights(radius=0.1, start_epoch=2), 0.3
    optimizer = torch.optim.SGD(model.parameters(), lr)
    weight, shift = model.weight.detach().clone(), model.shift.detach().clone()
    for epoch, radius in ((1, 0.0), (2, 0.1)):
        progress = Progress(step=0, total=None, epoch=epoch, steps_per_epoch=1)
        with perturbed_weights(setting, model, model.backward, progress):
            model.backward()
            torch.testing.assert_close(model.weight.detach(), (1 + radius) * weight)
            optimizer.step()
        weight = weight - lr * (1 + radius) * weight
        shift = shift.add(shift, alpha=-lr)  # rounded as the optimiser does
        torch.testing.assert_close(model.weight.detach(), weight, rtol=0, atol=1e-14)
        assert torch.equal(model.shift.detach(), shift)


@pytest.mark.parametrize("name", ["at", "trades", "at_linear"])
def test_passes_are_those_of_the_plan_and_only_one_forward_moves_the_statistics(name):

    step, batch = step_of(name, weight_perturbation=AWP)
    counter = PassCounter([m for m in step.trained.modules() if isinstance(m, Classifier)])
    step(batch, PROGRESS)
    assert counter.images / SIZE == pytest.approx(step.config.spec.passes_per_image(step.config))
    counts = {"at": 1, "trades": 2, "at_linear": 0}
    assert step.trained.backbone.bn1.num_batches_tracked == counts[name]


@pytest.mark.parametrize("name", ["at", "trades"])
def test_attack_sees_the_weights_themselves_and_a_vanishing_radius_is_the_plain_method(name):
    plain, batch = step_of(name)
    tiny, _ = step_of(name, weight_perturbation=AdversarialWeights(radius=1e-30, start_epoch=0))
    for step in (plain, tiny):
        step(batch, PROGRESS)
    for found, wanted in zip(
        tiny.trained.state_dict().values(), plain.trained.state_dict().values(), strict=True
    ):
        assert torch.equal(found, wanted)


def test_gradient_of_the_whole_batch_perturbs_the_weights_once():
    found = []
    for micro_batch in (None, 2):
        step, batch = step_of("at", weight_perturbation=AWP, micro_batch=micro_batch)
        step.trained.double()
        step.dtype = torch.float64
        step.objective.train_mode = lambda trained: trained.eval()
        step(batch, PROGRESS)
        found.append([p.detach() for p in step.trained.parameters()])
    for parts, whole in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)
