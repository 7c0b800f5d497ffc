"""Certificates of randomized smoothing (Cohen et al. 2019), with the rules that end sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robust_transfer.config.evaluator import METRICS, RA_RADIUS, EvaluatorConfig, EvaluatorSpec, Settings
from robust_transfer.config.method_spec import FORWARD
from robust_transfer.config.schema import option, parse_choice
from robust_transfer.core import named
from robust_transfer.core.choices import ANALYSES

if TYPE_CHECKING:
    from robust_transfer.config.evaluator import Column


CONFIDENCE = 0.999  # of what is said about all certificates at once


@dataclass(frozen=True)
class CertifySpec(EvaluatorSpec):
    """What is asked about certificates."""

    def measured(self, settings: Settings) -> tuple[str, ...]:
        """Leave out `ra` where its radius has no answer, and `acr` where radii only answer yes or no."""
        ra = ("ra",) if _ra_radius(settings) in _settled(settings) else ()
        return ("sa", *ra) if settings.get("mode") == "decide" else ("sa", *ra, "acr")

    def values(self, columns: Mapping[str, Column], settings: Settings) -> dict[str, Column]:
        """Return certified accuracy at radius 0 (`sa`) and at settled radii, and the correct images' radii.

        `ra@0.5` is the accuracy at radius 0.5; `ra` is that at `ra_radius`.
        """
        correct, radius = columns["correct"], columns["radius"]
        named_radii = _settled(settings) if "ra_radius" in settings else ()  # older stages name none
        settled = {f"ra@{r:g}": correct * (radius >= r) for r in named_radii}
        values = {"sa": correct, "ra": correct * (radius >= _ra_radius(settings)), "acr": correct * radius}
        return {metric: values[metric] for metric in self.measured(settings)} | settled

    def subset_rule(self, settings: Settings) -> str:
        """Return the rule that the settings name."""
        return str(settings.get("subset_rule", "even"))

    def warnings(self, settings: Settings) -> tuple[str, ...]:
        """Name the radii that no number of votes can certify."""
        beyond = sorted({*_asked(settings)} - {*_settled(settings)})
        return tuple(f"radius {radius:g} is out of reach" for radius in beyond)

    def passes_per_image(self, settings: Settings) -> float:
        """Return all noise samples."""
        return float(FORWARD * (settings["n0"] + settings["n"] if settings["sigma"] else 1))

    def settings_line(self, settings: Settings) -> str:
        """Name noise, samples, error probability and mode."""
        if not settings.get("sigma"):
            return "Plain classifier (sigma 0, radius 0)"
        mode = "" if settings.get("mode", "exact") == "exact" else f", mode {settings['mode']}"
        samples = f"n0 {settings['n0']:,}, n {settings['n']:,}"
        return f"Certified at sigma {settings['sigma']:g}: {samples}, alpha {settings['alpha']:g}{mode}"

    def short_line(self, settings: Settings) -> str:
        """Name sigma and n."""
        return f"{self.name} s={settings['sigma']:g} n={settings['n']}"

    def statements(
        self, settings: Settings, metrics: Mapping[str, float | None], num_images: int
    ) -> tuple[tuple[str, str], ...]:
        """Say how many images are truly robust, however many of the independent certificates are false."""
        if not settings.get("sigma"):
            return ()
        bound = named.load("robust_transfer.core.binomial:most_successes")
        false = bound(num_images, settings["alpha"], confidence=CONFIDENCE)
        lines = []
        for name, metric, radius in (("SA", "sa", 0.0), ("RA", "ra", _ra_radius(settings))):
            if (value := metrics.get(metric)) is not None:
                count = max(0, round(value * num_images) - false)
                percent = math.floor(1000 * count / num_images) / 10  # "at least" is never rounded up
                share = f"at least {percent:.1f} % of these images are truly correct"
                within = f" within radius {radius:g}" if radius else " under noise"
                lines.append((f"{name}, {100 * CONFIDENCE:g} %", share + within))
        return tuple(lines)

    def noise_sigma(self, settings: Settings) -> float | None:
        """Return sigma."""
        return float(settings.get("sigma", 0.0))


def _ra_radius(settings: Settings) -> float:
    radius = settings.get("ra_radius")
    return RA_RADIUS if radius is None else float(radius)  # older stages have none


def _asked(settings: Settings) -> tuple[float, ...]:
    """Return the radii that have a metric of their own."""
    decide = settings.get("mode") == "decide"
    radii = {float(radius) for radius in settings.get("radii", ())} if decide else set()
    if not decide or settings.get("ra_radius") is not None:
        radii.add(_ra_radius(settings))
    return tuple(sorted(radii))


def _settled(settings: Settings) -> tuple[float, ...]:
    """Return the radii among these that can be certified; without noise every one is answered by no."""
    if not settings.get("sigma"):
        return _asked(settings)
    largest = named.load("robust_transfer.smoothing.stopping:largest_radius")
    limit = largest(
        sigma=settings["sigma"],
        n=settings["n"],
        alpha=settings["alpha"],
        mode=settings.get("mode", "exact"),
        analyses=settings.get("analyses", "doubling"),
    )
    return tuple(radius for radius in _asked(settings) if radius <= limit)


def _analyses() -> Any:
    return option(
        "when counts are looked at; dense: from 100 samples on, a fifth more each time, and given up where n "
        "samples would hardly do; doubling: from 500 on, twice as many each time, as versions up to 3 did",
        choices=ANALYSES,
        default_for_hash="doubling",
    )


@dataclass(kw_only=True)
class CertifyConfig(EvaluatorConfig):
    """Randomized-smoothing certificates (Cohen et al. 2019); a class each for the rules that end sampling."""

    recipe_version: ClassVar[int] = 3  # 2: an image's noise blocks are counted on from one key; 3: as above

    spec: ClassVar[EvaluatorSpec] = CertifySpec(
        name="certify",
        meaning="randomized-smoothing certificates (Cohen et al. 2019)",
        builder="robust_transfer.evaluation.certify:CertifyEvaluator",
        redraw="robust_transfer.evaluation.redraw:redraw",
        examples="robust_transfer.evaluation.examples:noisy",
        check="robust_transfer.evaluation.settings:check_certification",
        columns=(
            "index",
            "label",
            "guess",
            "prediction",
            "correct",
            "radius",
            "count_top",
            "num_samples",
            "samples_drawn",
            "p_lower",
            "alpha_spent",
            "stopped",
            "nonfinite",
            "near_ties",
            "radius_two_class",
        ),
        metrics=METRICS,
        metric_columns=("correct", "radius"),
        limits={"n": "n"},
    )

    sigma: float = option("standard deviation of the noise; 0: the plain classifier with radius 0", low=0)
    n0: int = option("noise samples that choose the class, a multiple of 100", low=100)
    n: int = option("noise samples that bound its probability, a multiple of 100", low=100)
    alpha: float = option("error probability of an image's certificate", above=0, below=0.5)
    mode: str = option("when an image has enough samples")
    ra_radius: float | None = option(
        "radius of the accuracy `ra`, settled in every mode", above=0, default_for_hash=None
    )
    subset_rule: str = option(
        "even: exactly `subset` images, evenly spaced; skip: every floor(images / subset)-th, as the study",
        choices=("even", "skip"),
        default_for_hash="even",
    )
    seed: int = option("seed of the noise", low=0)
    allow_sigma_mismatch: bool = option(
        "certify a model trained at another sigma, and mark the row", identity=False
    )
    allow_nonfinite: bool = option("go on when logits are not finite (they vote for no class)")

    @classmethod
    def parse(cls, values: Any, path: str, *, stored: bool = False) -> CertifyConfig:
        """Build the class that the mode chooses, or raise ConfigError."""
        config: CertifyConfig = parse_choice(MODES, values, path, tag="mode", stored=stored)
        return config

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        return {"mode": self.mode}

    @property
    def _ra(self) -> tuple[float, ...]:
        return () if self.ra_radius is None else (self.ra_radius,)

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
    analyses: str = _analyses()

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        return {"mode": self.mode, "radii": (*self.radii, *self._ra), "analyses": self.analyses}


@dataclass(kw_only=True)
class AdaptiveConfig(CertifyConfig):
    """Samples until the radius is near what n samples would give."""

    mode: str = option("when an image has enough samples", choices=("adaptive",), default="adaptive")
    tolerance: float = option("relative loss of radius allowed", above=0, below=1)
    analyses: str = _analyses()

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        radii = {"radii": self._ra} if self._ra else {}
        return {"mode": self.mode, "tolerance": self.tolerance, "analyses": self.analyses, **radii}


MODES: dict[str, type] = {"exact": ExactConfig, "decide": DecideConfig, "adaptive": AdaptiveConfig}
