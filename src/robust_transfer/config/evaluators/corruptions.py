"""Common corruptions (Hendrycks and Dietterich 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec, Settings
from robust_transfer.config.method_spec import FORWARD
from robust_transfer.config.schema import option
from robust_transfer.core.errors import install_extra

if TYPE_CHECKING:
    from robust_transfer.config.evaluator import Column


# Hendrycks & Dietterich 2019, in their order; four more are kept for validation.
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur"),
    *("zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate"),
    "jpeg_compression",
)


@dataclass(frozen=True)
class CorruptionsSpec(EvaluatorSpec):
    """What is asked about common corruptions."""

    def values(self, columns: Mapping[str, Column], settings: Settings) -> dict[str, Column]:
        """Return whether each image is classified correctly as it is, and its share of corrupted copies."""
        return {"sa": columns["correct"], "ra": columns["robust"]}

    def passes_per_image(self, settings: Settings) -> float:
        """Return one forward for the image and one for each corrupted copy."""
        return float(FORWARD * (1 + len(settings["kinds"]) * len(settings["severities"])))

    def settings_line(self, settings: Settings) -> str:
        """Say how many corruptions there are, and how strong."""
        severities = ", ".join(map(str, settings["severities"]))
        return f"Common corruptions: mean over {len(settings['kinds'])} kinds at severity {severities}"


@dataclass
class CorruptionsConfig(EvaluatorConfig):
    """Common corruptions (Hendrycks and Dietterich 2019): accuracy averaged over kinds and severities."""

    spec: ClassVar[EvaluatorSpec] = CorruptionsSpec(
        name="corruptions",
        meaning="accuracy under 15 common corruptions at 5 severities (Hendrycks and Dietterich 2019)",
        builder="robust_transfer.evaluation.corruptions:CorruptionsEvaluator",
        recompute="robust_transfer.evaluation.corruptions:corruptions_row",
        columns=("index", "label", "prediction", "correct", "robust", "predictions"),
        metrics=("sa", "ra"),
        metric_columns=("correct", "robust"),
        package=("imagecorruptions", install_extra("corruptions")),
    )

    kinds: list[str] = option("corruptions, by their usual names", choices=CORRUPTIONS)
    severities: list[int] = option("strengths", low=1, high=5)
    seed: int = option("seed of what a corruption draws", low=0)
