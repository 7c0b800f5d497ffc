"""ST: cross-entropy on clean images, of the whole network or of the last layer alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from robust_transfer.config.methods import LinearConfig, StandardConfig
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify


class Standard(Objective):
    """Cross-entropy of the whole network."""

    def __init__(self, config: StandardConfig | LinearConfig) -> None:
        del config  # nothing in it changes the loss

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of the images and the training accuracy."""
        loss, accuracy = classify(model(batch.images[0]), batch.labels)
        return loss, {"accuracy": accuracy}


class HeadOnly(Objective):
    """A method of which only the head learns; all other tensors, BatchNorm statistics included, stay."""

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Freeze all parameters but the head's."""
        head = {id(parameter) for parameter in _head(model).parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in head)
        return model

    def train_mode(self, trained: nn.Module) -> None:
        """Leave BatchNorm in eval mode: in train mode it would move its statistics."""
        trained.eval()
        _head(trained).train()


class Linear(HeadOnly, Standard):
    """Cross-entropy of the head."""


def _head(model: nn.Module) -> nn.Module:
    return model.get_submodule(f"backbone.{model.head_name}")
