"""DynACL: ACL under views that get weaker as training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.adversarial import AttackConfig
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


@dataclass
class DynACLConfig(TrainingConfig, OwnViews):
    """DynACL: ACL under ever weaker views, against a slow copy (Luo et al. 2023)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.dynacl:DynACL",
        passes_per_image=lambda config: 2 * config.attack.passes + 2 * STEP + 2 * FORWARD,
        needs_labels=False,
        own_views=True,
        accumulates=False,
        default_evaluators=lambda config, parent: ("autopgd",),
    )

    attack: AttackConfig = option("the attack on the views inside the step")
    temperature: float = option("temperature of NT-Xent", above=0)
    ema_decay: float = option("decay of the slow copy's weights", low=0, high=1)
    period: int = option("epochs between two changes of the views' strength", low=1)
    weight_rate: float = option("weight of attacked over clean pairs where views are weakest", low=0, high=1)

    def check(self, path: str) -> None:
        """Refuse a run whose number of epochs, over which the views weaken, is not known."""
        super().check(path)
        if self.epochs is None:
            raise ConfigError(f"{path}.epochs is null (expected the epochs over which the views weaken)")
