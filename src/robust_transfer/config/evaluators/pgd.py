"""PGD (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.evaluator import EvaluatorSpec
from robust_transfer.config.evaluators.attack import (
    AttackEvaluatorConfig,
    AttackSpec,
)
from robust_transfer.config.schema import option


@dataclass
class PGDConfig(AttackEvaluatorConfig):
    """Projected gradient descent with a fixed step (Madry et al. 2018)."""

    spec: ClassVar[EvaluatorSpec] = AttackSpec(
        name="pgd",
        title="PGD",
        meaning="accuracy under PGD (Madry et al. 2018)",
        builder="robust_transfer.evaluation.attack:pgd_evaluator",
        limits={"num_steps": "attack_steps"},
    )

    step_size: float | None = option("length of a step; null: 2.5 eps / num_steps", above=0)
    random_start: bool = option("start at a random point of the ball")

    def inert(self) -> frozenset[str]:
        """From the image itself nothing is drawn, but by the checks of guards=full."""
        drawn = self.random_start or self.guards == "full"
        return frozenset(() if drawn else {"seed"})
