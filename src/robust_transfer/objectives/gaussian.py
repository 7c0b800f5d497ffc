"""Gaussian augmentation: cross-entropy on noisy images (Cohen et al. 2019, arXiv 1902.02918, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from robust_transfer.config.methods import GaussianConfig
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify


class Gaussian(Objective):
    """One draw of noise an image, added to the [0, 1] image before its normalisation and never clamped."""

    def __init__(self, config: GaussianConfig) -> None:
        self.sigma = config.sigma

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of the noisy images and the accuracy on them."""
        loss, accuracy = classify(model(self.perturbed(model, batch, noise)), batch.labels)
        return loss, {"accuracy": accuracy}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return one noisy copy of each image."""
        return batch.images[0] + self.sigma * noise("gaussian", 0)
