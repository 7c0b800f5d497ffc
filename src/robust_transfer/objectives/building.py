"""From a method's config to its objective, with what every method may have around it."""

from __future__ import annotations

from typing import Any

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.weights import MovingAverage
from robust_transfer.core import named
from robust_transfer.core.errors import ConfigError
from robust_transfer.objectives.averaging import Averaged
from robust_transfer.objectives.freezing import Frozen
from robust_transfer.objectives.objective import Objective
from robust_transfer.objectives.soft_labels import SoftLabels


def build(config: Any) -> Objective:
    """Build the objective of a method's config dataclass, or raise ConfigError."""
    spec = getattr(config, "spec", None)
    if spec is None or not isinstance(config, TrainingConfig):
        raise ConfigError(
            f"no objective is built from a {type(config).__name__} (expected a method's config)"
        )
    if problem := named.problem(spec.builder):
        raise ConfigError(f"no objective is built from a {type(config).__name__} ({problem})")
    objective: Objective = named.load(spec.builder)(config)
    if config.label_smoothing or config.mixup:
        objective = SoftLabels(objective, config.label_smoothing, config.mixup, config.seed)
    if config.freeze != "none":
        objective = Frozen(objective, config.freeze, keep_statistics=config.freeze_statistics)
    if isinstance(config.weight_average, MovingAverage):
        objective = Averaged(objective, config.weight_average)
    return objective
