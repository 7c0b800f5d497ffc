"""LwF for robustness: fine-tuning that keeps the features of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, PARENT, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class LwFConfig(TrainingConfig):
    """LwF: clean cross-entropy, and features that stay near the robust source's (Shafahi et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.lwf:LwF",
        passes_per_image=lambda config: STEP + FORWARD,
        default_evaluators=lambda config, parent: parent or ("autopgd", "certify"),
        references=lambda config: {"source": PARENT},
    )

    feature_weight: float = option("weight of the distance between features", low=0)
    order: int = option("norm of that distance: 1 or 2", low=1, high=2)
