"""What every training method has: optimiser, schedule, batch, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.config.eps_schedules import RampEps
from robust_transfer.config.method_spec import MethodSpec
from robust_transfer.config.schedules import PlateauSchedule, Schedule
from robust_transfer.config.schema import option
from robust_transfer.config.weights import AdversarialWeights, MovingAverage, NoAverage, WeightAverage
from robust_transfer.core.choices import ARITHMETICS, FREEZE_LEVELS
from robust_transfer.core.errors import ConfigError

ADAPTIVE = ("adamw", "lamb")  # optimisers that scale by squared gradients


@dataclass
class TrainingConfig:
    """What every training method has: optimiser, schedule, batch, precision.

    A method's own class declares `spec`; one that is derived from another method's does not inherit it.
    """

    spec: ClassVar[MethodSpec]
    # Raised by hand when the numerics of a method change. 2: a key fills a CPU generator's whole state
    recipe_version: ClassVar[int] = 2

    name: str = option("method", identity=True)
    seed: int = option("seed of initialisation, order, augmentation, noise", low=0)
    epochs: int | None = option("passes over the training set; null: max_steps alone ends the run", low=1)
    max_steps: int | None = option("optimiser steps at most; null: epochs alone end the run", low=1)
    batch_size: int = option("images per optimiser step over all devices", low=2)
    micro_batch: int | None = option(
        "images per forward and BatchNorm group; null: the device's share", low=2
    )
    optimizer: str = option("optimiser", choices=("sgd", "lars", "larc", "adamw", "lamb"))
    lr: float = option("peak learning rate", above=0)
    momentum: float = option("momentum; of adamw and lamb: beta1", low=0, below=1)
    beta2: float = option(
        "decay of the squared gradients of adamw and lamb", low=0, below=1, default_for_hash=0.999
    )
    nesterov: bool = option("Nesterov momentum")
    weight_decay: float = option("L2 weight decay", low=0)
    clip_grad_norm: float | None = option(
        "largest norm of a step's gradient; null: any", above=0, default_for_hash=None
    )
    label_smoothing: float = option(
        "share of a label that is spread over all classes", low=0, below=1, default_for_hash=0.0
    )
    mixup: float = option(
        "alpha of the Beta distribution that images are mixed by; 0: they are not",
        low=0,
        default_for_hash=0.0,
    )
    schedule: Schedule = option("learning-rate schedule")
    warmup_epochs: float = option("epochs of linear warm-up from 0", low=0)
    precision: str = option("arithmetic of training", choices=ARITHMETICS)
    freeze: str = option(
        "stages that stay as they are, up to this one; the stem goes with layer1",
        choices=FREEZE_LEVELS,
        default_for_hash="none",
    )
    freeze_statistics: bool = option(
        "keep the BatchNorm statistics of frozen stages too", default_for_hash=True
    )
    keep_head: bool = option(
        "start from the parent's last layer, which is for the same classes", default_for_hash=False
    )
    first: dict[str, Any] | None = option(
        "values of a fine-tuning that runs before, and whose model this one starts from; null: none",
        by_content=True,
        default_for_hash=None,
    )
    weight_average: WeightAverage = option("average of the weights", default_for_hash=NoAverage())

    def __init_subclass__(cls) -> None:
        if "spec" not in vars(cls):
            raise TypeError(f"{cls.__name__} declares no spec (expected spec: ClassVar[MethodSpec])")

    @property
    def train_sigma(self) -> float:
        """Standard deviation of the Gaussian noise that the model is trained under: a field `sigma`'s."""
        return float(getattr(self, "sigma", 0.0))

    @property
    def shown_name(self) -> str:
        """The method as directories and tables name it, with the options that make another method of it."""
        options = {
            "plain": getattr(getattr(self, "attack", None), "eps", None) == 0,
            "ramp": isinstance(getattr(self, "eps_schedule", None), RampEps),
            "awp": isinstance(getattr(self, "weight_perturbation", None), AdversarialWeights),
            "ema": isinstance(self.weight_average, MovingAverage),
            self.freeze: self.freeze != "none",
            self._after: self.first is not None,
            "kept": self.keep_head and self.first is None,
        }
        return "_".join([self.name, *(name for name, on in options.items() if on)])

    @property
    def _after(self) -> str:
        """What the name says of a fine-tuning before: its last layer's alone is RoLI (Hua et al. 2024)."""
        before = (self.first or {}).get("name")
        return "roli" if before == f"{self.name}_linear" else f"after_{before}"

    def inert(self) -> frozenset[str]:
        """Return the fields that change nothing here: of other optimisers, of stages that are not frozen."""
        unused = {"freeze_statistics"} if self.freeze == "none" else set()
        return frozenset(unused if self.optimizer in ADAPTIVE else {*unused, "beta2"})

    def check(self, path: str) -> None:
        """Refuse a run without an end, and what the method's loss cannot do."""
        until_plateau = isinstance(self.schedule, PlateauSchedule)
        if until_plateau and isinstance(getattr(self, "eps_schedule", None), RampEps):
            raise ConfigError(
                f"{path}.eps_schedule=ramp needs the length of the run, which a plateau decides",
                f"{path}.schedule=step",
            )
        if path.startswith("pretrain") and (self.freeze != "none" or self.keep_head):
            field = "keep_head=true" if self.keep_head else f"freeze={self.freeze}"
            raise ConfigError(f"{path}.{field} of random weights", f"finetune.{field}")
        if self.first is not None and not self.keep_head:
            raise ConfigError(
                f"{path}.first trains a last layer that {path}.keep_head=false throws away",
                f"{path}.keep_head=true",
            )
        if self.spec.freezes and self.freeze != "none":
            raise ConfigError(f"{path}.freeze={self.freeze} (expected none: {self.name} freezes by itself)")
        if self.epochs is None and self.max_steps is None and not until_plateau:
            raise ConfigError(f"{path}.epochs and {path}.max_steps are both null (expected an end)")
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ConfigError(
                f"{path}.micro_batch={self.micro_batch} does not divide batch_size={self.batch_size}"
            )
        if self.micro_batch is not None and not (self.spec.accumulates or self.spec.caches):
            raise ConfigError(
                f"{path}.micro_batch={self.micro_batch} (expected null: the loss of {self.name} is "
                "not a mean over parts of the batch)",
                "less memory: more devices, runtime.activation_checkpointing=true, precision=bf16",
            )
        if self.nesterov and self.optimizer in ADAPTIVE:
            raise ConfigError(f"{path}.nesterov=true with {path}.optimizer={self.optimizer} (expected false)")
        for name in ("label_smoothing", "mixup"):
            if getattr(self, name) and not self.spec.soft_labels:
                raise ConfigError(
                    f"{path}.{name}={getattr(self, name):g} (expected 0: the loss of {self.name} is not a "
                    "cross-entropy alone)"
                )
        if until_plateau and not self.spec.needs_labels:
            raise ConfigError(
                f"{path}.schedule=plateau needs labels, which {self.name} does not use",
                f"{path}.schedule=cosine",
            )
