"""SmoothAdv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.eps_schedules import EpsSchedule, attacked_fraction
from robust_transfer.config.method_spec import INPUT_GRADIENT, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


def _passes(config: SmoothAdvConfig) -> float:
    attack = INPUT_GRADIENT * config.num_steps * attacked_fraction(config.eps_schedule)
    return config.num_noise_samples * (attack + STEP)


@dataclass
class SmoothAdvConfig(TrainingConfig):
    """SmoothAdv: adversarial training of the smoothed classifier (Salman et al. 2019)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.smoothadv:SmoothAdv",
        passes_per_image=_passes,
        default_evaluators=lambda config, parent: ("certify",),
    )

    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
    num_noise_samples: int = option("noisy copies of an image, in the attack and in the loss", low=1)
    eps: float = option("L2 radius of the attack, in [0, 1] pixel units", above=0)
    num_steps: int = option("gradient steps of the attack, each of length 2 eps / num_steps", low=1)
    eps_schedule: EpsSchedule = option("growth of the attack's radius")
