"""AWP: the gradient is taken at weights that raise the loss (Wu, Xia & Wang 2020, arXiv 2004.05884)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import AdversarialConfig, TradesConfig
from robust_transfer.config.weights import AdversarialWeights, WeightPerturbation
from robust_transfer.objectives.objective import Metrics, Objective, Progress


def weight_perturbation(
    weights: Sequence[Tensor], gradients: Sequence[Tensor], radius: float
) -> list[Tensor]:
    """Return radius ||w|| g / ||g|| for each tensor, by Frobenius norms (equations 7 to 10).

    Biases and BatchNorm's scales (tensors of fewer than two dimensions) and tensors whose gradient vanishes
    get zeros. Nothing is changed in place.
    """
    return [_move(w.detach(), g, radius) for w, g in zip(weights, gradients, strict=True)]


def _move(weight: Tensor, gradient: Tensor, radius: float) -> Tensor:
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    length = torch.linalg.vector_norm(gradient)
    scale: Tensor = radius * torch.linalg.vector_norm(weight) / torch.where(length > 0, length, 1.0)
    return scale * gradient


@contextmanager
def perturbed_weights(
    setting: WeightPerturbation, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
) -> Iterator[None]:
    """Put a step, its passes and the optimiser's, at perturbed weights and move what it did back with them.

    The images are attacked before this at the weights themselves (`Objective.prepare`). The extra passes
    leave no trace in BatchNorm; the step's own see the perturbed weights, as do momentum and weight decay.

    Note: the release takes the direction from the difference of two float32 weights, 3 % off where gradients
    are small; here it is the gradient's own. It goes back by subtracting the perturbation; here old weights
    are kept, so that a tensor that is not perturbed is stepped to the bit as without this.
    """
    if not isinstance(setting, AdversarialWeights) or progress.epoch < setting.start_epoch:
        yield
        return
    with _buffers_kept(trained):
        backward()
    weights = [p for p in trained.parameters() if p.grad is not None]
    gradients = [p.grad for p in weights if p.grad is not None]
    with torch.no_grad():
        before = [weight.clone() for weight in weights]
        for weight, move in zip(
            weights, weight_perturbation(weights, gradients, setting.radius), strict=True
        ):
            weight.add_(move)
        perturbed = [weight.clone() for weight in weights]
    yield
    with torch.no_grad():
        for weight, old, moved in zip(weights, before, perturbed, strict=True):
            weight.copy_(torch.where(old == moved, weight, old + (weight - moved)))


class AtPerturbedWeights(Objective):
    """A method whose steps are taken at perturbed weights, where its configuration says so."""

    def __init__(self, config: AdversarialConfig | TradesConfig) -> None:
        self.config = config

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Take the step as `perturbed_weights` does."""
        with perturbed_weights(self.config.weight_perturbation, trained, backward, progress):
            yield


@contextmanager
def _buffers_kept(trained: nn.Module) -> Iterator[None]:
    buffers = [(buffer, buffer.clone()) for buffer in trained.buffers()]
    yield
    for buffer, value in buffers:
        buffer.copy_(value)
