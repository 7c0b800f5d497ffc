"""ST: cross-entropy on clean images, of the whole network or of the last layer alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig


@dataclass
class StandardConfig(TrainingConfig):
    """ST: cross-entropy on clean images."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.standard:Standard",
        passes_per_image=lambda config: STEP,
        soft_labels=True,
    )


@dataclass
class LinearConfig(TrainingConfig):
    """ST of the last layer: everything else frozen, BatchNorm statistics included."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.standard:Linear",
        passes_per_image=lambda config: FORWARD,
        soft_labels=True,
        freezes=True,
    )
