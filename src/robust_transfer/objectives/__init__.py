"""Training objectives: (model, batch, noise, progress) -> loss, one file a method.

A plan asks for these modules by name without importing torch, so the names below are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_transfer.core.lazy import lazily

if TYPE_CHECKING:
    from robust_transfer.objectives.consistency import consistency_loss
    from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, build
    from robust_transfer.objectives.simclr import nt_xent

_HOME = {
    "Metrics": "objective",
    "Noise": "objective",
    "Objective": "objective",
    "Progress": "objective",
    "Views": "objective",
    "build": "objective",
    "consistency_loss": "consistency",
    "nt_xent": "simclr",
}
__all__ = [
    "Metrics",
    "Noise",
    "Objective",
    "Progress",
    "Views",
    "build",
    "consistency_loss",
    "nt_xent",
]

__getattr__ = lazily(__name__, _HOME)
