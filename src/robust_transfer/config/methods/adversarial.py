"""AT, and the attack inside a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import INPUT_GRADIENT, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.core.choices import NORMS


@dataclass
class AttackConfig:
    """The PGD attack inside a step of adversarial training."""

    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    num_steps: int = option("gradient steps", low=1)
    step_size: float | None = option("length of a step, in eps's units; null: 2 eps / num_steps", above=0)
    random_start: bool = option("start at a random point of the ball")

    def __post_init__(self) -> None:
        if self.step_size is None:
            self.step_size = 2 * self.eps / self.num_steps


@dataclass
class AdversarialConfig(TrainingConfig):
    """AT: cross-entropy on adversarial images (Madry et al. 2018)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.adversarial:Adversarial",
        passes_per_image=lambda config: INPUT_GRADIENT * config.attack.num_steps + STEP,
        default_evaluators=lambda config, parent: ("autopgd",),
    )

    attack: AttackConfig = option("the attack inside the step")
