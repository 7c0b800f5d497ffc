"""TRADES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.eps_schedules import ConstantEps, EpsSchedule
from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.adversarial import AttackConfig, attack_passes
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.config.weights import NoPerturbation, WeightPerturbation, step_runs
from robust_transfer.core.errors import ConfigError


@dataclass
class TradesConfig(TrainingConfig):
    """TRADES: clean cross-entropy, and outputs that an attack does not change (Zhang et al. 2019)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.trades:Trades",
        passes_per_image=lambda config: (
            FORWARD + attack_passes(config) + 2 * STEP * step_runs(config.weight_perturbation)
        ),
        default_evaluators=lambda config, parent: ("autopgd",),
    )

    attack: AttackConfig = option("the attack inside the step")
    beta: float = option("weight of the KL divergence between clean and adversarial outputs", low=0)
    eps_schedule: EpsSchedule = option("growth of the attack's radius", default_for_hash=ConstantEps())
    weight_perturbation: WeightPerturbation = option(
        "perturbation of the weights", default_for_hash=NoPerturbation()
    )

    def check(self, path: str) -> None:
        """Refuse a start at the image, where the divergence has no gradient."""
        super().check(path)
        if not self.attack.random_start:
            raise ConfigError(
                f"{path}.attack.random_start=false (expected true: the divergence that TRADES attacks has no "
                "gradient at the image)"
            )
