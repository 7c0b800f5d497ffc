"""The evaluators there are: their settings and specs, those of other packages included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from robust_transfer.config.evaluator import (
    METRICS,
    RA_RADIUS,
    EvaluatorConfig,
    EvaluatorSpec,
    Settings,
)
from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT
from robust_transfer.config.schema import option, parse_choice
from robust_transfer.core import named
from robust_transfer.core.choices import MIN_CLASSES, NORMS, SHAPES
from robust_transfer.core.errors import ConfigError, install_extra
from robust_transfer.core.extensions import extensions

if TYPE_CHECKING:
    from robust_transfer.config.evaluator import Column

GROUP = "robust_transfer.evaluators"  # entry points of evaluators from other packages
LINEAR_PROBE = "linear_probe"  # rt-eval's word for a last layer that is trained, then measured by PROBED_BY
PROBED_BY = "clean"
ROW_COLUMNS = ("index", "label", "clean_prediction", "adversarial_prediction", "correct", "robust")


@dataclass
class CleanConfig(EvaluatorConfig):
    """Accuracy on unchanged images."""

    spec: ClassVar[EvaluatorSpec] = EvaluatorSpec(
        name="clean",
        meaning="accuracy on unchanged images",
        builder="robust_transfer.evaluation.clean:CleanEvaluator",
        columns=("index", "label", "prediction", "correct"),
    )


def shapes_option() -> Any:
    """Declare the shapes of an attack's forwards; stages before it had one."""
    return option(
        "forwards as images run out: ladder (smaller ones) or one (all of batch_size: the same bits however "
        "a run is cut)",
        choices=SHAPES,
        identity=False,
        default_for_hash="one",
    )


@dataclass(frozen=True)
class AttackSpec(EvaluatorSpec):
    """What is asked about the attacks.

    title : the attack's name in a sentence
    """

    title: str = ""
    recompute: str | None = "robust_transfer.evaluation.recompute:attack_row"
    redraw: str | None = "robust_transfer.evaluation.reattack:reattack"
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
        norm = {"l2": "L2", "linf": "L-inf"}.get(str(settings.get("norm")), settings.get("norm"))
        return f"{norm} eps {settings.get('eps')}"

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
    seed: int = option("seed of the random starts", low=0)


@dataclass
class PGDConfig(AttackEvaluatorConfig):
    """Projected gradient descent with a fixed step (Madry et al. 2018)."""

    spec: ClassVar[EvaluatorSpec] = AttackSpec(
        name="pgd",
        title="PGD",
        meaning="accuracy under PGD (Madry et al. 2018)",
        builder="robust_transfer.evaluation.attack:pgd_evaluator",
        limits={"num_steps": "attack_steps"},
    )

    step_size: float | None = option("length of a step; null: 2.5 eps / num_steps", above=0)
    random_start: bool = option("start at a random point of the ball")

    def inert(self) -> frozenset[str]:
        """From the image itself nothing is drawn, but by the checks of guards=full."""
        drawn = self.random_start or self.guards == "full"
        return frozenset(() if drawn else {"seed"})


@dataclass
class AutoPGDConfig(AttackEvaluatorConfig):
    """Auto-PGD (Croce and Hein 2020)."""

    spec: ClassVar[EvaluatorSpec] = AttackSpec(
        name="autopgd",
        title="AutoPGD",
        meaning="accuracy under Auto-PGD (Croce and Hein 2020)",
        builder="robust_transfer.evaluation.attack:autopgd_evaluator",
        limits={"num_steps": "attack_steps"},
    )

    num_eot: int = option("gradients averaged per step, for randomised models", low=1)


@dataclass(frozen=True)
class AutoAttackSpec(AttackSpec):
    """What is asked about AutoAttack."""

    def passes_per_image(self, settings: Settings) -> float:
        """Return those of every run of the version's attacks, nine targets each, and of Square."""
        version = settings.get("version", "standard")
        runs = {"standard": 1 + 9 + 9, "plus": 3 * 5 + 9 + 9, "rand": 2 * 20}[version]
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
    norm: str = option("norm of the threat", choices=NORMS)
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
    seed: int = option("seed of the random starts and of Square", low=0)


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
    )
    return tuple(radius for radius in _asked(settings) if radius <= limit)


@dataclass(kw_only=True)
class CertifyConfig(EvaluatorConfig):
    """Randomized-smoothing certificates (Cohen et al. 2019); a class each for the rules that end sampling."""

    recipe_version: ClassVar[int] = 2  # 2: an image's noise blocks are counted on from one key

    spec: ClassVar[EvaluatorSpec] = CertifySpec(
        name="certify",
        meaning="randomized-smoothing certificates (Cohen et al. 2019)",
        builder="robust_transfer.evaluation.certify:CertifyEvaluator",
        redraw="robust_transfer.evaluation.redraw:redraw",
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

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        return {"mode": self.mode, "radii": (*self.radii, *self._ra)}


@dataclass(kw_only=True)
class AdaptiveConfig(CertifyConfig):
    """Samples until the radius is near what n samples would give."""

    mode: str = option("when an image has enough samples", choices=("adaptive",), default="adaptive")
    tolerance: float = option("relative loss of radius allowed", above=0, below=1)

    @property
    def rule(self) -> dict[str, Any]:
        """What ends the sampling of an image, by the names that `smoothing` takes."""
        radii = {"radii": self._ra} if self._ra else {}
        return {"mode": self.mode, "tolerance": self.tolerance, **radii}


MODES: dict[str, type] = {"exact": ExactConfig, "decide": DecideConfig, "adaptive": AdaptiveConfig}

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


# ---------------------------------------------------------------- all of them

BUILT_IN: tuple[type[EvaluatorConfig], ...] = (
    CleanConfig,
    PGDConfig,
    AutoPGDConfig,
    AutoAttackConfig,
    CertifyConfig,
    CorruptionsConfig,
)


@cache
def evaluators() -> dict[str, type[EvaluatorConfig]]:
    """Return the config class of every evaluator by its name: ours, then those of other packages.

    Raises
    ------
    ConfigError : a package brings an evaluator that cannot be imported, or whose name is taken
    """
    classes: dict[str, type[EvaluatorConfig]] = {config.spec.name: config for config in BUILT_IN}
    for extension in extensions(GROUP):
        config_class = extension.load_class(EvaluatorConfig)
        extension.add_to(classes, config_class.spec.name, config_class)
    return classes


def evaluator_spec(name: str) -> EvaluatorSpec:
    """Return an evaluator's spec; of one that is not installed here, a spec that knows its name alone."""
    found = evaluators().get(name)
    return found.spec if found else EvaluatorSpec(name, "an evaluator that is not installed here", metrics=())


@dataclass
class EvaluatorNodes:
    """The evaluators' settings, shared by rt-train and rt-eval: one node each, such as `certify.sigma`."""

    evaluator_settings: dict[str, EvaluatorConfig] = option("settings of every evaluator, by its name")


def parse_evaluators(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the nodes of the evaluators parsed and put together in `evaluator_settings`."""
    if "evaluator_settings" in values:
        raise ConfigError("evaluator_settings is not a field", "EVALUATOR.FIELD=VALUE")
    nodes = {name: cls for name, cls in evaluators().items() if name in values}
    parsed = {name: config_class.parse(values[name], name) for name, config_class in nodes.items()}
    others = {name: value for name, value in values.items() if name not in nodes}
    return {**others, "evaluator_settings": parsed}
