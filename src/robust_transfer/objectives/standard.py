"""ST: cross-entropy on clean images, of the whole network or of the last layer alone."""

from __future__ import annotations

from torch import Tensor, nn

from robust_transfer.config.methods import LinearConfig, StandardConfig
from robust_transfer.objectives.objective import OBJECTIVES, Metrics, Noise, Objective, Pair, classify


@OBJECTIVES.register(StandardConfig)
class Standard(Objective):
    """Cross-entropy of the whole network."""

    def __init__(self, config: StandardConfig | LinearConfig) -> None:
        del config  # nothing in it changes the loss

    def __call__(self, model: nn.Module, batch: Pair, noise: Noise) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of (images, labels) and the training accuracy."""
        images, labels = batch
        loss, accuracy = classify(model(images), labels)
        return loss, {"accuracy": accuracy}


@OBJECTIVES.register(LinearConfig)
class Linear(Standard):
    """Cross-entropy of the head; every other tensor, BatchNorm statistics included, stays as it is."""

    def training_model(self, model: nn.Module) -> nn.Module:
        """Freeze all parameters but those of `backbone.fc`."""
        head = {id(parameter) for parameter in _head(model).parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in head)
        return model

    def train_mode(self, model: nn.Module) -> None:
        """Leave BatchNorm in eval mode: in train mode it would move its statistics."""
        model.eval()
        _head(model).train()


def _head(model: nn.Module) -> nn.Module:
    return model.get_submodule("backbone.fc")
