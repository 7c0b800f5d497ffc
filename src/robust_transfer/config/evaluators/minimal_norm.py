"""The minimal-norm attack (Pintor et al. 2021): accuracy at every radius from one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec, Settings
from robust_transfer.config.evaluators.attack import AttackSpec, shapes_option
from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT
from robust_transfer.config.schema import option
from robust_transfer.core.choices import ALL_NORMS

if TYPE_CHECKING:
    from robust_transfer.config.evaluator import Column

JUDGED = 16  # forwards that confirm a point and bisect the way to it


@dataclass(frozen=True)
class MinimalNormSpec(AttackSpec):
    """What is asked about the minimal-norm attack."""

    recompute: str | None = "robust_transfer.evaluation.minimal_norm:minimal_norm_row"
    metric_columns: tuple[str, ...] = ("correct", "robust", "distance")

    def values(self, columns: Mapping[str, Column], settings: Settings) -> dict[str, Column]:
        """Return `sa`, `ra` (at eps), accuracy at each radius and the area of the robustness curve.

        `ra@1` is the accuracy at radius 1. The area under accuracy from radius 0 to the largest of `radii` is
        the mean of the distances, each cut at that radius.
        """
        distance, radii = columns["distance"], sorted(settings["radii"])
        curve = {f"ra@{radius:g}": (distance > radius).astype(float) for radius in radii}
        area = {"area": distance.clip(max=radii[-1])}
        return {"sa": columns["correct"], "ra": columns["robust"], **curve, **area}

    def passes_per_image(self, settings: Settings) -> float:
        """Return the gradients of all searches, and the forwards that judge their points."""
        gradients = settings["num_steps"] * (1 + settings["num_targets"])
        return float(FORWARD * (1 + JUDGED) + INPUT_GRADIENT * gradients)

    def settings_line(self, settings: Settings) -> str:
        """Name threat, steps and targets."""
        effort = f"{settings['num_steps']} steps, {settings['num_targets']} targets"
        return f"{self.title}: {self.threat_text(settings)}, {effort}"

    def short_line(self, settings: Settings) -> str:
        """Name the attack with steps x searches."""
        return f"{self.name} {settings['num_steps']}x{1 + settings['num_targets']}"


@dataclass
class MinimalNormConfig(EvaluatorConfig):
    """Distance of each image to the nearest misclassified point found (Pintor et al. 2021)."""

    spec: ClassVar[EvaluatorSpec] = MinimalNormSpec(
        name="minimal_norm",
        title="Minimal norm",
        meaning="accuracy at every radius from one run, and its area (Pintor et al. 2021)",
        builder="robust_transfer.evaluation.minimal_norm:minimal_norm_evaluator",
        limits={"num_steps": "attack_steps"},
    )

    arithmetic: str = option("arithmetic of the evaluation", choices=("fp32",))
    norm: str = option("norm of the distance", choices=ALL_NORMS)
    eps: float = option("radius of the accuracy `ra`, in [0, 1] pixel units", above=0)
    radii: list[float] = option("radii of the accuracies `ra@r`; the area ends at the largest", above=0)
    num_steps: int = option("gradient steps of a search", low=1)
    num_targets: int = option("classes searched for beside the untargeted search, likeliest first", low=0)
    guards: str = option("how much the attack checks itself", choices=("full", "fast", "off"))
    shapes: str = shapes_option()
