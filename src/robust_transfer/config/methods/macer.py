"""MACER."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class MACERConfig(TrainingConfig):
    """MACER: the certified radius itself is maximised (Zhai et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.macer:MACER",
        passes_per_image=lambda config: STEP * config.num_noise_samples,
        default_evaluators=lambda config, parent: ("certify",),
    )

    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
    num_noise_samples: int = option("noisy copies of an image in a step", low=1)
    robustness_weight: float = option("weight of the radius (lambda)", low=0)
    margin: float = option(
        "radius, in units of sigma / 2, past which an image is left alone (gamma)", above=0
    )
    inverse_temperature: float = option("factor of the logits where the radius is estimated (beta)", above=0)
    start_epoch: int = option("epochs of Gaussian augmentation before the radius counts", low=0)
