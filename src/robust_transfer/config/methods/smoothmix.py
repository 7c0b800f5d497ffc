"""SmoothMix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import INPUT_GRADIENT, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class SmoothMixConfig(TrainingConfig):
    """SmoothMix: less confident on the way to adversarial images (Jeong et al. 2021)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.smoothmix:SmoothMix",
        passes_per_image=lambda config: (
            config.num_noise_samples * (INPUT_GRADIENT * config.num_steps + 2 * STEP)
        ),
        default_evaluators=lambda config, parent: ("certify",),
    )

    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
    num_noise_samples: int = option("noisy copies of an image, in the attack and in the loss", low=1)
    step_size: float = option("L2 length of an attack step, in [0, 1] pixel units (alpha)", above=0)
    num_steps: int = option("gradient steps of the attack, which no ball bounds", low=1)
    mix_weight: float = option("weight of the loss of mixed images (eta)", low=0)
    mix_warmup_epochs: int = option("epochs over which the mixed loss grows to its weight", low=0)
    mix_step: int = option(
        "mix from the image (0) or from the point after one attack step (1)", low=0, high=1
    )
