"""What every training objective offers, and how one is built from its config."""

# B local batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.core.errors import ConfigError
from robust_transfer.core.registry import Registry

# (purpose, copy) -> (B, C, H, W) standard normal, keyed by (seed, purpose, epoch, image, copy).
Noise = Callable[[str, int], Tensor]
Metrics = dict[str, Tensor]  # scalars without gradient, left on the device
Pair = tuple[Tensor, Tensor]  # (images (B, C, H, W), labels (B,)), or for SimCLR (view_a, view_b)


class Objective:
    """A loss over a batch, averaged over the local images.

    Called with a model from [0, 1] images to logits, a batch of float images in [0, 1], and keyed noise; a
    method overrides `__call__`, and `adversary` where its robustness has one.
    """

    num_views = 1

    def __call__(self, model: nn.Module, batch: Pair, noise: Noise) -> tuple[Tensor, Metrics]:
        """Return the mean loss of the local images, in at least float32, and metrics to log.

        `batch` is (images (B, C, H, W), labels (B,)), or for SimCLR (view_a, view_b).
        """
        raise NotImplementedError

    def training_model(self, model: nn.Module) -> nn.Module:
        """Return what is trained: `model` itself, or `model` inside a network that only training needs."""
        return model

    def train_mode(self, model: nn.Module) -> None:
        """Put the training model in the mode that its steps need."""
        model.train()

    def adversary(self, model: nn.Module, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return the images whose accuracy tells how good the model is (plateau): here the clean ones."""
        return images


OBJECTIVES: Registry[Objective] = Registry("objective", "robust_transfer.objectives")


def build(config: Any) -> Objective:
    """Build the objective of a method's config dataclass, or raise ConfigError."""
    return OBJECTIVES.build(config)


def widen(tensor: Tensor) -> Tensor:
    """Bring half precision to float32, where losses are computed; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def classify(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of logits (B, K) and the fraction that is right."""
    if logits.shape[1] == 0:
        raise ConfigError("a model without classes has no cross-entropy (expected a head)")
    accuracy = (logits.detach().argmax(1) == labels).float().mean()
    return functional.cross_entropy(widen(logits), labels), accuracy
