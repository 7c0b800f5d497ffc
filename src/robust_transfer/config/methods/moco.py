"""MoCo v2: contrast with a queue of a slow copy's keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, STEP, MethodSpec
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.core.errors import ConfigError


@dataclass
class MoCoConfig(TrainingConfig, OwnViews):
    """MoCo v2: contrast with a queue of a slow copy's keys (He et al. 2020, Chen et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.moco:MoCo",
        passes_per_image=lambda config: STEP + FORWARD,
        needs_labels=False,
        own_views=True,
    )

    temperature: float = option("temperature of InfoNCE", above=0)
    projection_dim: int = option("output size of the projection head", low=2)
    queue_size: int = option("keys in the queue; at most a quarter of the data set's images", low=1)
    ema_decay: float = option("decay of the slow copy's weights", low=0, high=1)
    bn_group: int = option("images that BatchNorm sees together, on any number of devices", low=2)
    blur: bool = option("blur views; off for images of 32 pixels, where a kernel has 3")

    def check(self, path: str) -> None:
        """Refuse groups of BatchNorm that do not divide what passes together."""
        super().check(path)
        together = self.micro_batch or self.batch_size
        if together > self.bn_group and together % self.bn_group:
            raise ConfigError(f"{path}.bn_group={self.bn_group} does not divide {together} images")
