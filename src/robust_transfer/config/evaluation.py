"""Configuration of evaluators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.schema import option
from robust_transfer.core.choices import ARITHMETICS, NORMS

EVALUATORS = ("clean", "pgd", "autopgd", "autoattack", "certify")
LINEAR_PROBE = "linear_probe"  # rt-eval's word for a last layer that is trained, then measured by `clean`


@dataclass
class EvaluatorConfig:
    """What every evaluator has."""

    recipe_version: ClassVar[int] = 1

    subset: int | None = option("number of evenly spaced test images; null: all", low=1)
    batch_size: int = option("constant shape of a forward", low=1, identity=False)
    arithmetic: str = option("arithmetic of the evaluation", choices=ARITHMETICS)


@dataclass
class CleanConfig(EvaluatorConfig):
    """Accuracy on unchanged images."""


@dataclass
class AttackEvaluatorConfig(EvaluatorConfig):
    """What PGD and AutoPGD share."""

    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    num_steps: int = option("gradient steps of a restart", low=1)
    num_restarts: int = option("random restarts, on the still robust images", low=1)
    loss: str = option("attacked loss", choices=("ce", "dlr", "dlr_targeted"))
    guards: str = option("how much the attack checks itself", choices=("full", "fast", "off"))
    seed: int = option("seed of the random starts", low=0)


@dataclass
class PGDConfig(AttackEvaluatorConfig):
    """Projected gradient descent with a fixed step (Madry et al. 2018)."""

    step_size: float | None = option("length of a step; null: 2.5 eps / num_steps", above=0)
    random_start: bool = option("start at a random point of the ball")

    def inert(self) -> frozenset[str]:
        """From the image itself nothing is drawn, but by the checks of guards=full."""
        drawn = self.random_start or self.guards == "full"
        return frozenset(() if drawn else {"seed"})


@dataclass
class AutoPGDConfig(AttackEvaluatorConfig):
    """Auto-PGD (Croce and Hein 2020)."""

    num_eot: int = option("gradients averaged per step, for randomised models", low=1)


@dataclass
class AutoAttackConfig(EvaluatorConfig):
    """AutoAttack's standard version (Croce and Hein 2020): four attacks, an image robust to all of them."""

    arithmetic: str = option("arithmetic of the evaluation", choices=("fp32",))
    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    num_steps: int = option("steps of both APGDs and of FAB; the standard is 100", low=1)
    num_queries: int = option("queries of Square; the standard is 5000", low=1)
    guards: str = option("how much the first attack checks itself", choices=("full", "fast", "off"))
    seed: int = option("seed of the random starts and of Square", low=0)


@dataclass(kw_only=True)
class CertifyConfig(EvaluatorConfig):
    """Randomized-smoothing certificates (Cohen et al. 2019); a class each for the rules that end sampling."""

    sigma: float = option("standard deviation of the noise; 0: the plain classifier with radius 0", low=0)
    n0: int = option("noise samples that choose the class, a multiple of 100", low=100)
    n: int = option("noise samples that bound its probability, a multiple of 100", low=100)
    alpha: float = option("error probability of an image's certificate", above=0, below=0.5)
    mode: str = option("when an image has enough samples")
    seed: int = option("seed of the noise", low=0)
    allow_sigma_mismatch: bool = option(
        "certify a model trained at another sigma, and mark the row", identity=False
    )
    allow_nonfinite: bool = option("go on when logits are not finite (they vote for no class)")

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        return {"mode": self.mode}

    def inert(self) -> frozenset[str]:
        """Without noise nothing is sampled, so that no number, error probability or seed matters."""
        sampling = frozenset({"n0", "n", "alpha", "seed", *self.rule}) - {"mode"}
        return sampling if self.sigma == 0 else frozenset()


@dataclass(kw_only=True)
class ExactConfig(CertifyConfig):
    """CERTIFY as published: n samples for every image."""

    mode: str = option("when an image has enough samples", choices=("exact",), default="exact")


@dataclass(kw_only=True)
class DecideConfig(CertifyConfig):
    """Samples until every radius has its yes or no."""

    mode: str = option("when an image has enough samples", choices=("decide",), default="decide")
    radii: list[float] = option("radii that are answered, besides 0", above=0)

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        return {"mode": self.mode, "radii": tuple(self.radii)}


@dataclass(kw_only=True)
class AdaptiveConfig(CertifyConfig):
    """Samples until the radius is near what n samples would give."""

    mode: str = option("when an image has enough samples", choices=("adaptive",), default="adaptive")
    tolerance: float = option("relative loss of radius allowed", above=0, below=1)

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        return {"mode": self.mode, "tolerance": self.tolerance}


@dataclass
class EvaluatorNodes:
    """The evaluators' settings, shared by rt-train and rt-eval."""

    clean: CleanConfig = option("clean accuracy")
    pgd: PGDConfig = option("PGD")
    autopgd: AutoPGDConfig = option("AutoPGD")
    autoattack: AutoAttackConfig = option("AutoAttack")
    certify: ExactConfig | DecideConfig | AdaptiveConfig = option("certificates", tag="mode")
