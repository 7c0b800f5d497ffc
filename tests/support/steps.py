"""Arguments of an objective's call: a whole batch, and the first step of a run."""

import copy

import torch
from torch.nn import functional

from robust_transfer.objectives import Progress, Views

FIRST = Progress(step=0, total=10, epoch=0, steps_per_epoch=5)


def whole(*views_and_labels):
    """A batch of (view, ..., labels)."""
    *images, labels = views_and_labels
    return Views(tuple(images), labels, torch.arange(len(labels)))


def one_step(objective, model, batch, noise, progress=FIRST):
    """Return loss and metrics as a training step computes them: what `prepare` makes is what is called."""
    return objective(model, objective.prepare(model, batch, noise, progress), noise, progress)


def assert_same_value_and_gradient(actual, reference, *tensors, tolerance=1e-12):
    """Compare two functions of float64 tensors, the second written independently: values and gradients."""
    results = []
    for function in (actual, reference):
        inputs = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        value = function(*inputs)
        gradients = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
        results.append((value.detach(), gradients))
    (value, gradients), (expected, expected_gradients) = results
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=10 * tolerance, atol=10 * tolerance)


def pgd_by_hand(model, images, labels, noise, *, eps, num_steps, step_size):
    """L2 PGD, image by image, with loss.backward()."""
    model = copy.deepcopy(model).eval()
    found = []
    for image, label, draw in zip(images, labels, noise, strict=True):
        x = (image + eps * draw / draw.norm()).clamp(0, 1)
        for _ in range(num_steps):
            x = x.detach().requires_grad_()
            functional.cross_entropy(model(x[None]), label[None]).backward()
            moved = x.detach() + step_size * x.grad / x.grad.norm()
            offset = moved - image
            x = (image + offset * min(1.0, eps / offset.norm().item())).clamp(0, 1)
        found.append(x.detach())
    return torch.stack(found)
