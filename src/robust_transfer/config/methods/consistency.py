"""CR: Gaussian noise with consistency regularisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class ConsistencyConfig(TrainingConfig):
    """CR: Gaussian noise with consistency regularisation (Jeong and Shin 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.consistency:Consistency",
        passes_per_image=lambda config: STEP * config.num_noise_samples,
        default_evaluators=lambda config, parent: ("certify",),
    )

    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
    num_noise_samples: int = option("noisy copies of an image in a step (m)", low=1)
    consistency_weight: float = option("weight of the KL term (lambda)", low=0)
    entropy_weight: float = option("weight of the entropy term (eta)", low=0)


@dataclass
class ConsistencyLinearConfig(ConsistencyConfig):
    """CR of the last layer: everything else frozen, BatchNorm statistics included."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.consistency:ConsistencyLinear",
        passes_per_image=lambda config: FORWARD * config.num_noise_samples,
        default_evaluators=lambda config, parent: ("certify",),
        freezes=True,
    )
