"""BYOL: a network predicts what a slow copy of itself sees in another view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class BYOLConfig(TrainingConfig, OwnViews):
    """BYOL: predict a slow copy's view, without negatives (Grill et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.byol:BYOL",
        passes_per_image=lambda config: 2 * STEP + 2 * FORWARD,
        needs_labels=False,
        own_views=True,
    )

    projection_hidden: int = option("hidden size of projector and predictor", low=2)
    projection_dim: int = option("output size of projector and predictor", low=2)
    ema_decay: float = option("decay of the target's weights at the start; it rises to 1", low=0, high=1)
    color_strength: float = option("factor of the colour jitter", low=0, high=5)
    blur: bool = option("blur views; off for images of 32 pixels, where a kernel has 3")
    zero_init_residual: bool = option("begin every residual block as its shortcut")
