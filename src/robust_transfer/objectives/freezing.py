"""Stages of a network that stay as they are while the rest is fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from robust_transfer.core.choices import FREEZE_LEVELS
from robust_transfer.core.errors import ConfigError
from robust_transfer.models.stages import stage_of_tensors
from robust_transfer.objectives.objective import Objective
from robust_transfer.objectives.wrapping import Wrapping


def frozen_tensors(model: nn.Module, freeze_level: int) -> list[str]:
    """Return the names of the parameters and buffers that a level freezes, in their order.

    Level 0 freezes none, level L the stem and the first L of four stages (see `models.stages`), so that 4
    leaves the head. Yosinski et al. 2014 (arXiv 1411.1792); the levels are those of the study's script for
    AT, whose script for CR counts from 1 and freezes the stem alone at 1.
    """
    return [name for name, stage in stage_of_tensors(model).items() if stage <= freeze_level]


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
        names = frozen_tensors(trained, self.level)
        if not names:
            raise ConfigError(
                f"freeze={FREEZE_LEVELS[self.level]} of a network in which no stages can be told",
                "finetune.freeze=none",
            )
        parameters = dict(trained.named_parameters())
        for name in names:
            if name in parameters:
                parameters[name].requires_grad_(False)
        return trained

    def train_mode(self, trained: nn.Module) -> None:
        """Keep frozen stages in eval mode, where their statistics stay too."""
        super().train_mode(trained)
        if self.keep_statistics:
            owners = {name.rpartition(".")[0] for name in frozen_tensors(trained, self.level)}
            for name, module in trained.named_modules():
                if name in owners:
                    module.training = False
