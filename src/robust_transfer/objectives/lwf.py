"""LwF for robustness: clean training near a robust source (Shafahi et al. 2020, arXiv 1905.08232)."""

# B batch, C channels, H/W pixels, D features, K classes

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import LwFConfig
from robust_transfer.objectives.heads import FeaturesAndLogits, headless
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify, widen


def lwf_loss(
    logits: Tensor,
    features: Tensor,
    reference_features: Tensor,
    labels: Tensor,
    feature_weight: float,
    order: int,
) -> Tensor:
    """Return mean_b CE(logits_b, y_b) + feature_weight mean_b ||features_b - reference_features_b||.

    Shafahi et al. 2020, equation 2. No gradient reaches the reference.

    Parameters
    ----------
    logits : (B, K)
    features, reference_features : (B, D) before the last layer, of the same images
    order : 1 or 2, of the norm
    """
    return classify(logits, labels)[0] + feature_weight * _distance(features, reference_features, order)


def _distance(features: Tensor, reference: Tensor, order: int) -> Tensor:
    difference = widen(features) - widen(reference.detach())
    # vector_norm has the gradient 0 at 0, where training begins.
    lengths: Tensor = torch.linalg.vector_norm(difference, ord=order, dim=1)
    return lengths.mean()


class LwF(Objective):
    """Clean images alone: robustness is inherited with the features, not trained.

    BatchNorm keeps the source's statistics throughout and learns its scale and shift. The paper trains the
    last layer alone first: `finetune=lwf_after_st_linear` plans ST of the last layer before, whose features
    are the source's to the bit.

    Note: the paper writes the distance as an L2 norm, the authors' code takes L1 (`order`); its loss and
    gradient agree to 3e-16. The code reads the source's features of images that are not augmented from a
    file; here the source sees the same view. It decays the weights of layers alone, not scale, shift and
    bias; here the optimiser decays all, as for every method.
    """

    def __init__(self, config: LwFConfig) -> None:
        self.config = config

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Keep the source's features beside the model."""
        self.source = headless(references["source"])
        return FeaturesAndLogits(model)

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the classifier."""
        return cast(FeaturesAndLogits, trained).joined()

    def train_mode(self, trained: nn.Module) -> None:
        """Leave BatchNorm in eval mode, where its statistics stay."""
        trained.eval()

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, the accuracy and the distance of the features from the source's."""
        images = batch.images[0]
        with torch.no_grad():
            source_features = self.source(images)
        features, logits = model(images)
        config = self.config
        loss = lwf_loss(logits, features, source_features, batch.labels, config.feature_weight, config.order)
        distance = _distance(features.detach(), source_features, config.order)
        accuracy = classify(logits.detach(), batch.labels)[1]
        return loss, {"accuracy": accuracy, "feature_distance": distance}
