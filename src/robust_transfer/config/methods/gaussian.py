"""Gaussian augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class GaussianConfig(TrainingConfig):
    """Gaussian augmentation: cross-entropy on noisy images (Cohen et al. 2019)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.gaussian:Gaussian",
        passes_per_image=lambda config: STEP,
        soft_labels=True,
        default_evaluators=lambda config, parent: ("certify",),
    )

    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
