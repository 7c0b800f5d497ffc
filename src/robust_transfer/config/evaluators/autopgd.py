"""Auto-PGD (Croce and Hein 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.evaluator import EvaluatorSpec
from robust_transfer.config.evaluators.attack import (
    AttackEvaluatorConfig,
    AttackSpec,
)
from robust_transfer.config.schema import option
from robust_transfer.core.choices import ALL_NORMS


@dataclass
class AutoPGDConfig(AttackEvaluatorConfig):
    """Auto-PGD (Croce and Hein 2020)."""

    spec: ClassVar[EvaluatorSpec] = AttackSpec(
        name="autopgd",
        title="AutoPGD",
        meaning="accuracy under Auto-PGD (Croce and Hein 2020)",
        builder="robust_transfer.evaluation.attack:autopgd_evaluator",
        limits={"num_steps": "attack_steps"},
    )

    norm: str = option("norm of the threat", choices=ALL_NORMS)
    num_eot: int = option("gradients averaged per step, for randomised models", low=1)
