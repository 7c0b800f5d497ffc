"""Training objectives: (model, batch, noise) -> loss, one file a method."""

from robust_transfer.objectives import adversarial, simclr, standard
from robust_transfer.objectives.consistency import consistency_loss
from robust_transfer.objectives.objective import OBJECTIVES, Metrics, Noise, Objective, build
from robust_transfer.objectives.simclr import nt_xent

__all__ = [
    "OBJECTIVES",
    "Metrics",
    "Noise",
    "Objective",
    "adversarial",
    "build",
    "consistency_loss",
    "nt_xent",
    "simclr",
    "standard",
]
