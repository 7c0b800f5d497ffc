"""Stages of a residual network that stay as they are while the rest is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from robust_transfer.core.choices import FREEZE_LEVELS
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives.objective import Objective
from robust_transfer.objectives.wrapping import Wrapping

STAGE = {"conv1": 1, "bn1": 1, "layer1": 1, "layer2": 2, "layer3": 3, "layer4": 4, "fc": 5}


def frozen_parameters(names: Iterable[str], freeze_level: int) -> list[str]:
    """Return those of the names of parameters or modules that a level freezes, in their order.

    Level 0 freezes none, level L the stem and layer1 to layerL, so that 4 leaves the head; prefixes of a
    wrapper do not matter. Yosinski et al. 2014 (arXiv 1411.1792); the levels are those of the study's script
    for AT, whose script for CR counts from 1 and freezes the stem alone at 1.
    """
    return [name for name in names if _stage(name) <= freeze_level]


def _stage(name: str) -> int:
    # The outermost component that is a stage: blocks inside have a conv1 and a bn1 too.
    return next((STAGE[part] for part in name.split(".") if part in STAGE), len(FREEZE_LEVELS))


class Frozen(Wrapping):
    """Any method, with the first stages frozen.

    Note: in the study's scripts frozen BatchNorm layers keep updating their statistics, so that frozen
    features drift. `keep_statistics` puts them in eval mode.
    """

    def __init__(self, inner: Objective, freeze: str, *, keep_statistics: bool) -> None:
        super().__init__(inner)
        self.level, self.keep_statistics = FREEZE_LEVELS.index(freeze), keep_statistics

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Freeze the parameters of the first stages."""
        trained = super().training_model(model, references)
        parameters = dict(trained.named_parameters())
        names = frozen_parameters(parameters, self.level)
        if not names:
            raise ConfigError(
                f"freeze={FREEZE_LEVELS[self.level]} of a network without stages of that name",
                "finetune.freeze=none",
            )
        for name in names:
            parameters[name].requires_grad_(False)
        return trained

    def train_mode(self, trained: nn.Module) -> None:
        """Keep frozen stages in eval mode, where their statistics stay too."""
        super().train_mode(trained)
        if self.keep_statistics:
            modules = dict(trained.named_modules())
            for name in frozen_parameters(modules, self.level):
                modules[name].eval()
