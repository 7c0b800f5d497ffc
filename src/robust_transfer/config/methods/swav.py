"""SwAV: views of an image predict each other's prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import STEP, MethodSpec
from robust_transfer.config.methods.own_views import OwnViews
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option

ASSIGNING = 2  # views of full size, which are assigned to prototypes


@dataclass
class SwAVConfig(TrainingConfig, OwnViews):
    """SwAV: views of an image, small ones too, predict each other's prototypes (Caron et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.swav:SwAV",
        passes_per_image=lambda config: STEP * (ASSIGNING + config.small_views * config.small_side**2),
        needs_labels=False,
        own_views=True,
        accumulates=False,
    )

    small_views: int = option("small views beside the two of full size", low=0)
    small_side: float = option("side of a small view as a share of the full one's", above=0, high=1)
    temperature: float = option("temperature of the softmax over prototypes", above=0)
    projection_hidden: int = option("width of the projection head", low=2)
    projection_dim: int = option("output size of the projection head", low=2)
    num_prototypes: int = option("prototypes; several times the classes that there may be", low=2)
    epsilon: float = option("entropy of the assignments; smaller is sharper", above=0)
    sinkhorn_iterations: int = option("iterations that spread a batch over the prototypes", low=1)
    freeze_steps: int = option("optimiser steps in which prototypes stay", low=0)
    queue_size: int = option("past images that are assigned with a batch; 0: none", low=0)
    queue_start_epoch: int = option("epoch, from 0, from which past images are kept", low=0)
    blur: bool = option("blur views; off for images of 32 pixels, where a kernel has 3")
