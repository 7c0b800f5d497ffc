"""ACL: contrastive pre-training on attacked views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.adversarial import AttackConfig
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option

# variant -> (attacked views, views without gradient in the attack, views in the step)
_VIEWS = {"ds": (2, 0, 4), "a2a": (2, 0, 2), "a2s": (1, 1, 2)}


def _passes(config: ACLConfig) -> float:
    attacked, constant, trained = _VIEWS[config.variant]
    return config.attack.passes * attacked + FORWARD * constant + STEP * trained


@dataclass
class ACLConfig(TrainingConfig, OwnViews):
    """ACL: NT-Xent of attacked views, and of clean ones beside them (Jiang et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.acl:ACL",
        passes_per_image=_passes,
        needs_labels=False,
        own_views=True,
        accumulates=False,
        default_evaluators=lambda config, parent: ("autopgd",),
    )

    variant: str = option(
        "ds: a clean and an attacked pair; a2a: an attacked pair; a2s: one view attacked, one clean",
        choices=tuple(_VIEWS),
    )
    attack: AttackConfig = option("the attack on the views inside the step")
    temperature: float = option("temperature of NT-Xent", above=0)
    color_strength: float = option("factor of the colour jitter", low=0, high=5)
    route: str = option(
        "whose BatchNorm goes on to fine-tuning where there are two: attacked or clean images'",
        choices=("adversarial", "clean"),
    )
