"""What attacks share: what plans and reports ask about them, and the settings of PGD and AutoPGD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec, Settings
from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT
from robust_transfer.config.schema import option
from robust_transfer.core.choices import MIN_CLASSES, NORMS, SHAPES, STORAGES

if TYPE_CHECKING:
    from robust_transfer.config.evaluator import Column


ROW_COLUMNS = ("index", "label", "clean_prediction", "adversarial_prediction", "correct", "robust")


def shapes_option() -> Any:
    """Declare the shapes of an attack's forwards; stages before it had one."""
    return option(
        "forwards as images run out: ladder (smaller ones) or one (all of batch_size: the same bits however "
        "a run is cut)",
        choices=SHAPES,
        identity=False,
        default_for_hash="one",
    )


def storage_option() -> Any:
    """Declare how an attack's points are held when they are judged; stages before it held floats."""
    return option(
        "8bit: adversarial images are rounded to 8 bit, as a file holds them, and judged again",
        choices=STORAGES,
        default_for_hash="float",
    )


@dataclass(frozen=True)
class AttackSpec(EvaluatorSpec):
    """What is asked about the attacks.

    title : the attack's name in a sentence
    """

    title: str = ""
    recompute: str | None = "robust_transfer.evaluation.recompute:attack_row"
    redraw: str | None = "robust_transfer.evaluation.reattack:reattack"
    examples: str | None = "robust_transfer.evaluation.examples:adversarial"
    columns: tuple[str, ...] = (*ROW_COLUMNS, "distance", "loss", "gradient_steps")
    metrics: tuple[str, ...] = ("sa", "ra")
    metric_columns: tuple[str, ...] = ("correct", "robust")

    def values(self, columns: Mapping[str, Column], settings: Settings) -> dict[str, Column]:
        """Return whether each image is classified correctly as it is, and under attack."""
        return {"sa": columns["correct"], "ra": columns["robust"]}

    def passes_per_image(self, settings: Settings) -> float:
        """Return one forward, and the gradients of every restart."""
        gradients = (settings["num_steps"] + 1) * settings["num_restarts"] * settings.get("num_eot", 1)
        return float(FORWARD + INPUT_GRADIENT * gradients)

    def settings_line(self, settings: Settings) -> str:
        """Name threat, steps, restarts and loss."""
        restarts = settings.get("num_restarts", 1)
        return (
            f"{self.title}: {self.threat_text(settings)}, {settings.get('num_steps')} steps, "
            f"{restarts} restart{'s' if restarts != 1 else ''}, loss {settings.get('loss', 'ce')}"
        )

    def short_line(self, settings: Settings) -> str:
        """Name the attack with steps x restarts."""
        return f"{self.name} {settings['num_steps']}x{settings['num_restarts']}"

    def threat_text(self, settings: Settings) -> str:
        """Write norm and eps."""
        norm = {"l1": "L1", "l2": "L2", "linf": "L-inf"}.get(str(settings.get("norm")), settings.get("norm"))
        stored = ", stored in 8 bit" if settings.get("storage") == "8bit" else ""
        return f"{norm} eps {settings.get('eps')}{stored}"

    def threat(self, settings: Settings) -> tuple[Any, Any] | None:
        """Return (norm, eps)."""
        return settings.get("norm"), settings.get("eps")

    def least_classes(self, settings: Settings) -> int:
        """Return how many classes the attacked loss ranks."""
        return MIN_CLASSES.get(settings.get("loss", ""), 0)


@dataclass
class AttackEvaluatorConfig(EvaluatorConfig):
    """What PGD and AutoPGD share."""

    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    num_steps: int = option("gradient steps of a restart", low=1)
    num_restarts: int = option("random restarts, on the still robust images", low=1)
    loss: str = option("attacked loss", choices=("ce", "dlr", "dlr_targeted"))
    guards: str = option("how much the attack checks itself", choices=("full", "fast", "off"))
    shapes: str = shapes_option()
    storage: str = storage_option()
    seed: int = option("seed of the random starts", low=0)

    def recipe(self) -> int:
        """Return the version: since 3, an attack in low precision takes a tenth of the steps first."""
        return self.recipe_version if self.arithmetic == "fp32" else 3
