"""TWINS: adversarial fine-tuning with a frozen twin of every BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import PARENT, STEP, MethodSpec
from robust_transfer.config.methods.adversarial import AttackConfig
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class TwinsConfig(TrainingConfig):
    """TWINS: AT, half of each batch under the BatchNorm statistics of a robust source (Liu et al. 2023)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.twins:Twins",
        passes_per_image=lambda config: config.attack.passes + STEP,
        accumulates=False,
        default_evaluators=lambda config, parent: ("autopgd",),
        references=lambda config: {"source": PARENT},
    )

    attack: AttackConfig = option("the attack inside the step")
    frozen_weight: float = option("weight of the half under frozen statistics", low=0)
