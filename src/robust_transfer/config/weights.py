"""What a step does to the weights beside descending: perturb them before it, average them after it."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.config.schema import option, variants


@dataclass(kw_only=True)
class NoPerturbation:
    """The gradient is taken at the weights themselves."""

    name: str = option("perturbation of the weights", choices=("none",), default="none")


@dataclass(kw_only=True)
class AdversarialWeights:
    """AWP: the gradient is taken where the loss is larger (Wu et al. 2020)."""

    name: str = option("perturbation of the weights", choices=("awp",), default="awp")
    radius: float = option("length of the perturbation, as a fraction of each tensor's norm (gamma)", above=0)
    start_epoch: int = option("epochs before the weights are perturbed", low=0)


@dataclass(kw_only=True)
class NoAverage:
    """The last weights are the result."""

    name: str = option("average of the weights", choices=("none",), default="none")


@dataclass(kw_only=True)
class MovingAverage:
    """An exponential moving average of the weights is validated and saved (Gowal et al. 2020)."""

    name: str = option("average of the weights", choices=("ema",), default="ema")
    decay: float = option("largest share of the average that a step keeps (tau)", low=0, below=1)
    start_epochs: float = option("epochs before the average begins; until then it is the weights", low=0)


WeightPerturbation = NoPerturbation | AdversarialWeights
WEIGHT_PERTURBATIONS = variants(WeightPerturbation)
WeightAverage = NoAverage | MovingAverage
WEIGHT_AVERAGES = variants(WeightAverage)


def step_runs(perturbation: WeightPerturbation) -> int:
    """Return how often the passes of a step's loss are run: once more where weights are perturbed."""
    return 2 if isinstance(perturbation, AdversarialWeights) else 1
