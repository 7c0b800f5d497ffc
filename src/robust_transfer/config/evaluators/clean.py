"""Accuracy on unchanged images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec


@dataclass
class CleanConfig(EvaluatorConfig):
    """Accuracy on unchanged images."""

    spec: ClassVar[EvaluatorSpec] = EvaluatorSpec(
        name="clean",
        meaning="accuracy on unchanged images",
        builder="robust_transfer.evaluation.clean:CleanEvaluator",
        columns=("index", "label", "prediction", "correct"),
    )
