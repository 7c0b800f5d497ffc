"""TWINS: AT with a frozen twin of every BatchNorm beside it (Liu et al. 2023, arXiv 2303.11135)."""

# B local batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from robust_transfer.config.methods import TwinsConfig
from robust_transfer.distributed.context import unwrap
from robust_transfer.objectives.inner_attack import attacked, summed_cross_entropy
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify
from robust_transfer.objectives.routed_batchnorm import (
    RoutedBatchNorm,
    add_routes,
    of_route,
    routed,
    set_routes,
)

ADAPTIVE, FROZEN = 0, 1  # routes


def twins_loss(
    frozen_logits: Tensor, adaptive_logits: Tensor, labels: Tensor, frozen_weight: float
) -> Tensor:
    """Return frozen_weight mean CE(frozen) + mean CE(adaptive).

    Parameters
    ----------
    frozen_logits, adaptive_logits : of the first and of the second part of a batch
    labels : of both parts, the first one's first
    """
    first, second = labels.split([len(frozen_logits), len(adaptive_logits)])
    return frozen_weight * classify(frozen_logits, first)[0] + classify(adaptive_logits, second)[0]


class Twins(Objective):
    """The first half of a batch passes BatchNorms that keep the source's statistics, the second usual ones.

    Both have a scale and a shift of their own, which learn; all other weights are shared. Attack, evaluation
    and result are of the usual ones. Of a network whose features are not robust, the twin keeps statistics
    that are of no use.

    Note: AT alone; the release has a form with TRADES too, whose terms have half the weight that it states.
    Attack, loss and gradients of its steps agree (difference below 1e-10).
    """

    def __init__(self, config: TwinsConfig) -> None:
        self.config = config

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Give every BatchNorm its twin."""
        add_routes(model, 2)
        return model

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the network without the twins."""
        return of_route(trained, ADAPTIVE)

    def train_mode(self, trained: nn.Module) -> None:
        """Leave the twins in eval mode, where their statistics stay and normalise."""
        trained.train()
        for layer in trained.modules():
            if isinstance(layer, RoutedBatchNorm):
                layer.routes[FROZEN].eval()

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the perturbed images."""
        return batch._replace(images=(self.perturbed(model, batch, noise),))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss of both halves, and the accuracy on perturbed images of the adaptive one."""
        images = batch.images[0]
        half = len(images) // 2
        # For the backward pass too, in which activation checkpointing computes forward again.
        set_routes(unwrap(model), ((FROZEN, half), (ADAPTIVE, len(images) - half)))
        frozen, adaptive = model(images).tensor_split([half])
        accuracy = classify(adaptive.detach(), batch.labels[half:])[1]
        loss = twins_loss(frozen, adaptive, batch.labels, self.config.frozen_weight)
        return loss, {"robust_accuracy": accuracy}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return images of larger loss within the threat."""
        attack, images = self.config.attack, batch.images[0]
        with routed(model, ((ADAPTIVE, len(images)),)):
            return attacked(
                model,
                images,
                loss=partial(summed_cross_entropy, model, labels=batch.labels),
                norm=attack.norm,
                eps=attack.eps,
                num_steps=attack.num_steps,
                step_size=attack.step_size_at(attack.eps),
                start=noise("start", 0) if attack.random_start else None,
            )
