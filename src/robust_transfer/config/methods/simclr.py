"""SimCLR: contrastive pre-training without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class SimCLRConfig(TrainingConfig, OwnViews):
    """SimCLR: contrastive pre-training without labels (Chen et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.simclr:SimCLR",
        passes_per_image=lambda config: 2 * (STEP + (FORWARD if config.micro_batch else 0)),
        needs_labels=False,
        own_views=True,
        accumulates=False,
        caches=True,
    )
    recipe_version: ClassVar[int] = 3

    temperature: float = option("temperature of NT-Xent", above=0)
    projection_dim: int = option("output size of the projection head", low=2)
    projection_layers: int = option("layers of the projection head: 2 (v1) or 3 (v2)", low=2, high=3)
    # torchvision turns the hue by at most half the circle, and the jitter turns it by 0.2 of the strength.
    color_strength: float = option("strength of the colour jitter", low=0, high=2.5)
    decoupled: bool = option("leave the positive out of the denominator (DCL)")
    expected_linear_probe: float | None = option(
        "published top-1 accuracy in % of a linear probe on imagenet, for reports",
        low=0,
        high=100,
        identity=False,
    )
    zero_init_residual: bool = option("begin every residual block as its shortcut", default_for_hash=False)
    loss_scale: float = option("factor of NT-Xent's mean over both views", above=0, default_for_hash=1.0)
