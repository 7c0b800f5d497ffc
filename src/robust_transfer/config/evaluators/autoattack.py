"""AutoAttack (Croce and Hein 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec, Settings
from robust_transfer.config.evaluators.attack import (
    ROW_COLUMNS,
    AttackSpec,
    shapes_option,
    storage_option,
)
from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT
from robust_transfer.config.schema import option
from robust_transfer.core.choices import ALL_NORMS
from robust_transfer.core.errors import install_extra


@dataclass(frozen=True)
class AutoAttackSpec(AttackSpec):
    """What is asked about AutoAttack."""

    def passes_per_image(self, settings: Settings) -> float:
        """Return those of every run of the version's attacks, of all targets, and of Square."""
        version = settings.get("version", "standard")
        l1 = settings["norm"] == "l1"
        runs = {"standard": 5 + 5 + 9 if l1 else 1 + 9 + 9, "plus": 3 * 5 + 9 + 9, "rand": 2 * 20}[version]
        queries = 0 if version == "rand" else settings["num_queries"]
        return float(FORWARD + INPUT_GRADIENT * (settings["num_steps"] + 1) * runs + FORWARD * queries)

    def settings_line(self, settings: Settings) -> str:
        """Name the four attacks, the threat and the effort."""
        effort = f"{settings.get('num_steps')} steps, {settings.get('num_queries')} queries"
        version = settings.get("version", "standard")
        attacks = {"standard": " (APGD-CE, APGD-T, FAB-T, Square)"}.get(version, f", version {version}")
        return f"{self.title}{attacks}: {self.threat_text(settings)}, {effort}"

    def short_line(self, settings: Settings) -> str:
        """Name the attack with its version: it has neither steps nor restarts to choose."""
        version = settings.get("version", "standard")
        return self.name if version == "standard" else f"{self.name} {version}"


@dataclass
class AutoAttackConfig(EvaluatorConfig):
    """AutoAttack (Croce and Hein 2020): several attacks, an image robust to all of them."""

    spec: ClassVar[EvaluatorSpec] = AutoAttackSpec(
        name="autoattack",
        title="AutoAttack",
        meaning="accuracy under AutoAttack, the slower, stronger choice (Croce and Hein 2020)",
        builder="robust_transfer.evaluation.autoattack:autoattack_evaluator",
        columns=(*ROW_COLUMNS, "distance", "loss", "gradient_steps", "broken_by"),
        package=("pyautoattack", install_extra("autoattack")),
        limits={"num_steps": "attack_steps", "num_queries": "attack_steps"},
    )

    arithmetic: str = option("arithmetic of the evaluation", choices=("fp32",))
    norm: str = option("norm of the threat", choices=ALL_NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    version: str = option(
        "standard; plus: two more attacks, and restarts; rand: expected accuracy of randomised models",
        choices=("standard", "plus", "rand"),
        default_for_hash="standard",
    )
    num_steps: int = option("steps of the APGDs and of FAB; the standard is 100", low=1)
    num_queries: int = option("queries of Square; the standard is 5000", low=1)
    guards: str = option("how much the first attack checks itself", choices=("full", "fast", "off"))
    shapes: str = shapes_option()
    storage: str = storage_option()
    seed: int = option("seed of the random starts and of Square", low=0)
