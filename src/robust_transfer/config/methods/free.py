"""Free adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.core.choices import NORMS


@dataclass
class FreeConfig(TrainingConfig):
    """Free AT: each batch several times, attacked by the step's own gradient (Shafahi et al. 2019)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.free:Free",
        passes_per_image=lambda config: STEP,
        default_evaluators=lambda config, parent: ("autopgd",),
        repeats=lambda config: config.replays,
    )

    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius, and length of the attack's steps, in [0, 1] pixel units", above=0)
    replays: int = option("optimiser steps on a batch in turn; epochs count batches, not steps", low=1)
