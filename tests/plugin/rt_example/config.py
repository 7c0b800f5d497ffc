"""Settings of the method and of the evaluator; torch-free, as every command reads them."""

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec
from robust_transfer.config.method_spec import STEP, MethodSpec
from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.schema import option


@dataclass
class DimmedConfig(TrainingConfig):
    """Cross-entropy on darker images."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="rt_example.objective:Dimmed",
        passes_per_image=lambda config: STEP,
        default_evaluators=lambda config, parent: ("mirrored",),
    )

    strength: float = option("factor of every pixel", above=0, high=1)


@dataclass
class MirroredConfig(EvaluatorConfig):
    """Accuracy on mirrored images."""

    spec: ClassVar[EvaluatorSpec] = EvaluatorSpec(
        name="mirrored",
        meaning="accuracy on mirrored images",
        builder="rt_example.evaluator:Mirrored",
        columns=("index", "label", "prediction", "correct"),
    )
