"""Transfer attacks: images made on another model of the store (Papernot et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec
from robust_transfer.config.evaluators.attack import AttackSpec, shapes_option
from robust_transfer.config.schema import option
from robust_transfer.core.choices import ALL_NORMS
from robust_transfer.core.errors import ConfigError


@dataclass(frozen=True)
class TransferSpec(AttackSpec):
    """What is asked about transfer attacks."""

    def references(self, config: Any) -> Mapping[str, str]:
        """Return the model on which the images are made."""
        if config.source is None:
            raise ConfigError("transfer needs a model to make its images on", "transfer.source=KEY")
        return {"source": config.source}


@dataclass
class TransferConfig(EvaluatorConfig):
    """APGD on a source, its points of largest loss judged by the model that is evaluated."""

    spec: ClassVar[EvaluatorSpec] = TransferSpec(
        name="transfer",
        title="Transfer attack by AutoPGD",
        meaning="accuracy on adversarial images made on another model (Papernot et al. 2016)",
        builder="robust_transfer.evaluation.transfer:transfer_evaluator",
        limits={"num_steps": "attack_steps"},
    )

    arithmetic: str = option("arithmetic of the evaluation", choices=("fp32",))
    source: str | None = option("key or directory of the model that is attacked", by_content=True)
    norm: str = option("norm of the threat", choices=ALL_NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    num_steps: int = option("gradient steps of a restart, on the source", low=1)
    num_restarts: int = option("random restarts, on the still robust images", low=1)
    loss: str = option("attacked loss", choices=("ce", "dlr", "dlr_targeted"))
    guards: str = option("how much the attack checks itself", choices=("full", "fast", "off"))
    shapes: str = shapes_option()
    seed: int = option("seed of the random starts", low=0)
