"""Pre-training by a made-up classification task, under attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.method_spec import STEP, MethodSpec
from robust_transfer.config.methods.adversarial import AttackConfig
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


def _spec(builder: str) -> MethodSpec:
    def passes(config: Any) -> float:
        attack: float = config.attack.passes
        return attack + 2 * STEP

    return MethodSpec(
        builder=f"robust_transfer.objectives.pretext:{builder}",
        passes_per_image=passes,
        needs_labels=False,
        own_views=True,
        default_evaluators=lambda config, parent: ("autopgd",),
    )


@dataclass
class RotationConfig(TrainingConfig, OwnViews):
    """Rotation: tell by which quarter an image was turned, clean and attacked (Chen et al. 2020a)."""

    spec: ClassVar[MethodSpec] = _spec("Rotation")
    recipe_version: ClassVar[int] = 3  # clean and attacked images pass separately

    attack: AttackConfig = option("the attack inside the step")


@dataclass
class JigsawConfig(TrainingConfig, OwnViews):
    """Jigsaw: tell which of some orders an image's patches are in, clean and attacked (Chen et al. 2020a)."""

    spec: ClassVar[MethodSpec] = _spec("Jigsaw")
    recipe_version: ClassVar[int] = 3  # clean and attacked images pass separately

    attack: AttackConfig = option("the attack inside the step")
    grid: int = option("patches in a row and in a column", low=2, high=8)
    num_orders: int = option("orders of the patches beside the right one, drawn by the seed", low=1)
    p_in_order: float = option("part of the images that is put in the right order after all", low=0, high=1)
