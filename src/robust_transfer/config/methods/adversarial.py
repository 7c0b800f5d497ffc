"""AT, and the attack inside a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.eps_schedules import ConstantEps, EpsSchedule, attacked_fraction
from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT, STEP, MethodSpec
from robust_transfer.config.methods.training import TrainingConfig
from robust_transfer.config.schema import option
from robust_transfer.config.weights import NoPerturbation, WeightPerturbation, step_runs
from robust_transfer.core.choices import NORMS


@dataclass
class AttackConfig:
    """The PGD attack inside a step of adversarial training."""

    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius in [0, 1] pixel units; 0: no attack", low=0)
    num_steps: int = option("gradient steps", low=1)
    step_size: float | None = option("length of a step, in eps's units; null: 2 eps / num_steps", above=0)
    random_start: bool = option("start at a random point of the ball")

    def __post_init__(self) -> None:
        if self.step_size is None:
            self.step_size = 2 * self.eps / self.num_steps

    def step_size_at(self, eps: float) -> float:
        """Return the length of a step at another radius: the same fraction of it."""
        assert self.step_size is not None, "filled in above"
        return self.step_size * (eps / self.eps) if self.eps else 0.0

    @property
    def passes(self) -> float:
        """Passes of the attack on one image."""
        return INPUT_GRADIENT * self.num_steps if self.eps else 0


@dataclass
class AdversarialConfig(TrainingConfig):
    """AT: cross-entropy on adversarial images (Madry et al. 2018)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.adversarial:Adversarial",
        passes_per_image=lambda config: (
            attack_passes(config) + best_passes(config) + STEP * step_runs(config.weight_perturbation)
        ),
        soft_labels=True,
        default_evaluators=lambda config, parent: ("autopgd",),
    )

    attack: AttackConfig = option("the attack inside the step")
    eps_schedule: EpsSchedule = option("growth of the attack's radius", default_for_hash=ConstantEps())
    weight_perturbation: WeightPerturbation = option(
        "perturbation of the weights", default_for_hash=NoPerturbation()
    )
    use_best: bool = option(
        "train on the iterate of largest loss, for one more forward pass; false: on the last one",
        default_for_hash=False,
    )


@dataclass
class AdversarialLinearConfig(AdversarialConfig):
    """AT of the last layer: everything else frozen, BatchNorm statistics included (Hua et al. 2024)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.adversarial:AdversarialLinear",
        passes_per_image=lambda config: (
            attack_passes(config) + best_passes(config) + FORWARD * step_runs(config.weight_perturbation)
        ),
        soft_labels=True,
        default_evaluators=lambda config, parent: ("autopgd",),
        freezes=True,
    )


def attack_passes(config: Any) -> float:
    """Return the passes of a method's `attack` under its `eps_schedule`, averaged over the run."""
    passes: float = config.attack.passes * attacked_fraction(config.eps_schedule)
    return passes


def best_passes(config: AdversarialConfig) -> float:
    """Return the passes that show the loss of the attack's last iterate, averaged over the run."""
    return FORWARD * attacked_fraction(config.eps_schedule) if config.use_best else 0.0
