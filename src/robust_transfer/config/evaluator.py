"""What an evaluator is to the rest of the program: its settings, and the spec that everybody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from robust_transfer.config import schema
from robust_transfer.config.method_spec import FORWARD
from robust_transfer.config.schema import option
from robust_transfer.core import named
from robust_transfer.core.choices import ARITHMETICS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Column = npt.NDArray[np.float64]

Settings = Mapping[str, Any]  # an evaluator's settings as a key and summary.json hold them
METRICS = ("sa", "ra", "acr")  # clean accuracy, robust accuracy, average certified radius
RA_RADIUS = 0.5  # the study's eps, in [0, 1] pixel units, L2


@dataclass(frozen=True)
class EvaluatorSpec:
    """What plans, reports and commands ask about an evaluator; torch-free. Subclasses answer for their kind.

    An evaluator from another package puts its spec on its config class as `spec`, and names that class in the
    entry-point group `robust_transfer.evaluators`.

    Parameters
    ----------
    name : word of rt-eval and node of the configuration
    meaning : one line of help
    builder : "module:name", called with the config; makes an `evaluation.protocol.Evaluator`
    recompute : "module:function", called with (settings, row of records.csv, journal rows of its image,
        findings) by `rt-report verify` beside the comparison of whole rows: relations that hold anyway
    redraw : "module:function" that repeats some of a finished evaluation's random draws; None: it has none
    examples : "module:function" that shows a few images beside what the evaluator put in their place, for
        `rt-report show --picture`
    check : "module:function", torch-free, called with the config; refuses settings that contradict
        each other
    columns : columns of records.csv, in order
    metrics : metrics at most; `measured` says which under given settings
    metric_columns : columns that `values` reads
    package : (module, hint) of a package that must be installed
    limits : fields that a budget limits, each with the budget's field
    """

    name: str
    meaning: str
    builder: str = ""
    recompute: str | None = None
    redraw: str | None = None
    examples: str | None = None
    check: str | None = None
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("sa",)
    metric_columns: tuple[str, ...] = ("correct",)
    package: tuple[str, str] | None = None
    limits: Mapping[str, str] = field(default_factory=dict)

    def build(self, config: EvaluatorConfig) -> Any:
        """Return the evaluator that `config` describes."""
        return named.load(self.builder)(config)

    def measured(self, settings: Settings) -> tuple[str, ...]:
        """Return the metrics that settings measure."""
        return self.metrics

    def values(self, columns: Mapping[str, Column], settings: Settings) -> dict[str, Column]:
        """Return (N,) per-image values of every metric that is measured; a metric is the mean of its values.

        columns : (N,) each, those that `metric_columns` names
        """
        return {"sa": columns["correct"]}

    def passes_per_image(self, settings: Settings) -> float:
        """Return the forward-equivalents that an image takes at most."""
        return FORWARD

    def settings_line(self, settings: Settings) -> str:
        """Say in one line how numbers were measured, for what stands under a table."""
        return f"{self.name}: {self.meaning}"

    def short_line(self, settings: Settings) -> str:
        """Name the evaluator with what its numbers depend on most, for a column of a table."""
        return self.name

    def threat(self, settings: Settings) -> tuple[Any, Any] | None:
        """Return (norm, eps) of an attack; None for what attacks nothing."""
        return None

    def references(self, config: Any) -> Mapping[str, str]:
        """Return the finished trainings that are read beside the model, by what the evaluator calls them.

        Each is named by its key or directory; its full key stands in the evaluation's own.
        """
        return {}

    def noise_sigma(self, settings: Settings) -> float | None:
        """Return the standard deviation of the noise that the model is smoothed by; None: it is not."""
        return None

    def subset_rule(self, settings: Settings) -> str:
        """Return how a part of the test images is chosen, as `data.loaders.subset_indices` takes it."""
        return "even"

    def warnings(self, settings: Settings) -> tuple[str, ...]:
        """Return what a plan must say about settings that can be measured, but not in full."""
        return ()

    def statements(
        self, settings: Settings, metrics: Mapping[str, float | None], num_images: int
    ) -> tuple[tuple[str, str], ...]:
        """Return what the metrics entail with a confidence of its own: a name and a sentence each."""
        return ()

    def least_classes(self, settings: Settings) -> int:
        """Return the fewest classes of a data set that the settings can be measured on."""
        return 0


@dataclass
class EvaluatorConfig:
    """What every evaluator has."""

    recipe_version: ClassVar[int] = 2  # 2: a key fills a CPU generator's whole state
    spec: ClassVar[EvaluatorSpec]

    subset: int | None = option("number of evenly spaced test images; null: all", low=1)
    batch_size: int = option("constant shape of a forward", low=1, identity=False)
    arithmetic: str = option("arithmetic of the evaluation", choices=ARITHMETICS)

    def recipe(self) -> int:
        """Return the version of what these settings compute, which is part of the key."""
        return self.recipe_version

    @classmethod
    def parse(cls, values: Any, path: str, *, stored: bool = False) -> EvaluatorConfig:
        """Build the settings from a node of the configuration, or raise ConfigError."""
        config: EvaluatorConfig = schema.parse(cls, values, path, stored=stored)
        return config
