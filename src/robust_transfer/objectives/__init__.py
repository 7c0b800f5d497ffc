"""Training objectives: (model, batch, noise, progress) -> loss, one file a method.

A plan asks for these modules by name without importing torch, so the names below are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_transfer.core.lazy import lazily

if TYPE_CHECKING:
    from robust_transfer.objectives.adversarial_weights import weight_perturbation
    from robust_transfer.objectives.averaging import averaging_decay
    from robust_transfer.objectives.building import build
    from robust_transfer.objectives.byol import byol_loss
    from robust_transfer.objectives.consistency import consistency_loss
    from robust_transfer.objectives.dynacl import dynacl_schedule
    from robust_transfer.objectives.eps_schedule import scheduled_eps
    from robust_transfer.objectives.freezing import frozen_parameters
    from robust_transfer.objectives.macer import macer_loss
    from robust_transfer.objectives.moco import enqueue, info_nce
    from robust_transfer.objectives.momentum import ema_decay
    from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views
    from robust_transfer.objectives.pretext import pretext_loss, rotate_quarters, shuffle_patches
    from robust_transfer.objectives.simclr import nt_xent
    from robust_transfer.objectives.smoothed import smoothed_cross_entropy
    from robust_transfer.objectives.smoothmix import smoothmix_loss
    from robust_transfer.objectives.trades import trades_loss

_HOME = {
    "Metrics": "objective",
    "Noise": "objective",
    "Objective": "objective",
    "Progress": "objective",
    "Views": "objective",
    "byol_loss": "byol",
    "averaging_decay": "averaging",
    "build": "building",
    "frozen_parameters": "freezing",
    "weight_perturbation": "adversarial_weights",
    "consistency_loss": "consistency",
    "dynacl_schedule": "dynacl",
    "ema_decay": "momentum",
    "enqueue": "moco",
    "info_nce": "moco",
    "nt_xent": "simclr",
    "macer_loss": "macer",
    "pretext_loss": "pretext",
    "rotate_quarters": "pretext",
    "shuffle_patches": "pretext",
    "scheduled_eps": "eps_schedule",
    "smoothed_cross_entropy": "smoothed",
    "smoothmix_loss": "smoothmix",
    "trades_loss": "trades",
}
__all__ = [
    "Metrics",
    "Noise",
    "Objective",
    "Progress",
    "Views",
    "averaging_decay",
    "build",
    "byol_loss",
    "consistency_loss",
    "dynacl_schedule",
    "ema_decay",
    "enqueue",
    "frozen_parameters",
    "info_nce",
    "macer_loss",
    "nt_xent",
    "pretext_loss",
    "rotate_quarters",
    "scheduled_eps",
    "shuffle_patches",
    "smoothed_cross_entropy",
    "smoothmix_loss",
    "trades_loss",
    "weight_perturbation",
]

__getattr__ = lazily(__name__, _HOME)
