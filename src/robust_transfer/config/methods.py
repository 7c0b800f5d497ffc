"""Configuration of pre-training and fine-tuning methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robust_transfer.config.method_spec import FORWARD, INPUT_GRADIENT, STEP, MethodSpec
from robust_transfer.config.model import check_normalize
from robust_transfer.config.schedules import PlateauSchedule, Schedule
from robust_transfer.config.schema import option
from robust_transfer.core.choices import ARITHMETICS, NORMS
from robust_transfer.core.errors import ConfigError


@dataclass
class TrainingConfig:
    """What every training method has: optimiser, schedule, batch, precision.

    A method's own class declares `spec`; one that is derived from another method's does not inherit it.
    """

    spec: ClassVar[MethodSpec]
    recipe_version: ClassVar[int] = 1  # raised by hand when the numerics of a method change

    name: str = option("method", identity=True)
    seed: int = option("seed of initialisation, order, augmentation, noise", low=0)
    epochs: int | None = option("passes over the training set; null: max_steps alone ends the run", low=1)
    max_steps: int | None = option("optimiser steps at most; null: epochs alone end the run", low=1)
    batch_size: int = option("images per optimiser step over all devices", low=2)
    micro_batch: int | None = option(
        "images per forward and BatchNorm group; null: the device's share", low=2
    )
    optimizer: str = option("optimiser", choices=("sgd", "lars"))
    lr: float = option("peak learning rate", above=0)
    momentum: float = option("momentum", low=0, below=1)
    nesterov: bool = option("Nesterov momentum")
    weight_decay: float = option("L2 weight decay", low=0)
    schedule: Schedule = option("learning-rate schedule")
    warmup_epochs: float = option("epochs of linear warm-up from 0", low=0)
    precision: str = option("arithmetic of training", choices=ARITHMETICS)

    def __init_subclass__(cls) -> None:
        if "spec" not in vars(cls):
            raise TypeError(f"{cls.__name__} declares no spec (expected spec: ClassVar[MethodSpec])")

    @property
    def train_sigma(self) -> float:
        """Standard deviation of the Gaussian noise that the model is trained under."""
        return 0.0

    def check(self, path: str) -> None:
        """Refuse a run without an end, and what the method's loss cannot do."""
        until_plateau = isinstance(self.schedule, PlateauSchedule)
        if self.epochs is None and self.max_steps is None and not until_plateau:
            raise ConfigError(f"{path}.epochs and {path}.max_steps are both null (expected an end)")
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ConfigError(
                f"{path}.micro_batch={self.micro_batch} does not divide batch_size={self.batch_size}"
            )
        if self.micro_batch is not None and not self.spec.accumulates:
            raise ConfigError(
                f"{path}.micro_batch={self.micro_batch} (expected null: the loss of {self.name} is "
                "not a mean over parts of the batch)",
                "less memory: more devices, runtime.activation_checkpointing=true, precision=bf16",
            )
        if until_plateau and not self.spec.needs_labels:
            raise ConfigError(
                f"{path}.schedule=plateau needs labels, which {self.name} does not use",
                f"{path}.schedule=cosine",
            )


@dataclass
class StandardConfig(TrainingConfig):
    """ST: cross-entropy on clean images."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.standard:Standard", passes_per_image=lambda config: STEP
    )


@dataclass
class LinearConfig(TrainingConfig):
    """ST of the last layer: everything else frozen, BatchNorm statistics included."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.standard:Linear", passes_per_image=lambda config: FORWARD
    )


@dataclass
class AttackConfig:
    """The PGD attack inside a step of adversarial training."""

    norm: str = option("norm of the threat", choices=NORMS)
    eps: float = option("radius in [0, 1] pixel units", above=0)
    num_steps: int = option("gradient steps", low=1)
    step_size: float | None = option("length of a step, in eps's units; null: 2 eps / num_steps", above=0)
    random_start: bool = option("start at a random point of the ball")

    def __post_init__(self) -> None:
        if self.step_size is None:
            self.step_size = 2 * self.eps / self.num_steps


@dataclass
class AdversarialConfig(TrainingConfig):
    """AT: cross-entropy on adversarial images (Madry et al. 2018)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.adversarial:Adversarial",
        passes_per_image=lambda config: INPUT_GRADIENT * config.attack.num_steps + STEP,
        default_evaluators=lambda config, parent: ("autopgd",),
    )

    attack: AttackConfig = option("the attack inside the step")


@dataclass
class ConsistencyConfig(TrainingConfig):
    """CR: Gaussian noise with consistency regularisation (Jeong and Shin 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.consistency:Consistency",
        passes_per_image=lambda config: STEP * config.num_noise_samples,
        default_evaluators=lambda config, parent: ("certify",),
    )

    sigma: float = option("standard deviation of the noise, in [0, 1] pixel units", above=0)
    num_noise_samples: int = option("noisy copies of an image in a step (m)", low=1)
    consistency_weight: float = option("weight of the KL term (lambda)", low=0)
    entropy_weight: float = option("weight of the entropy term (eta)", low=0)

    @property
    def train_sigma(self) -> float:
        """Standard deviation of the Gaussian noise that the model is trained under."""
        return self.sigma


@dataclass
class SimCLRConfig(TrainingConfig):
    """SimCLR: contrastive pre-training without labels (Chen et al. 2020)."""

    spec: ClassVar[MethodSpec] = MethodSpec(
        builder="robust_transfer.objectives.simclr:SimCLR",
        passes_per_image=lambda config: STEP * 2,
        needs_labels=False,
        own_views=True,
        accumulates=False,
    )

    temperature: float = option("temperature of NT-Xent", above=0)
    projection_dim: int = option("output size of the projection head", low=2)
    projection_layers: int = option("layers of the projection head: 2 (v1) or 3 (v2)", low=2, high=3)
    # torchvision turns the hue by at most half the circle, and the jitter turns it by 0.2 of the strength.
    color_strength: float = option("strength of the colour jitter", low=0, high=2.5)
    decoupled: bool = option("leave the positive out of the denominator (DCL)")
    expected_linear_probe: float | None = option(
        "published top-1 accuracy in % of a linear probe on imagenet, for reports",
        low=0,
        high=100,
        identity=False,
    )
    augment_on: str = option(
        "where views are coloured and blurred: in the workers in 8 bits, or on the device in float32",
        choices=("cpu", "device"),
        default_for_hash="cpu",
    )


@dataclass
class NoneConfig:
    """No pre-training: fine-tuning starts from random weights."""

    name: str = option("method")


@dataclass
class CheckpointConfig:
    """Pre-trained weights from a file."""

    recipe_version: ClassVar[int] = 1

    name: str = option("method")
    path: str | None = option("file with the weights", identity=False)
    weights: str | None = option("torchvision:NAME instead of a file", identity=False)
    format: str = option("format of the file; auto: recognised by its keys")
    normalize: str | list[list[float]] | None = option("normalisation of the weights; null: the file's own")
    trust: bool = option("let the file run code while it is read", identity=False)

    def check(self, path: str) -> None:
        """Exactly one origin, and a known normalisation."""
        if (self.path is None) == (self.weights is None):
            raise ConfigError(f"{path} needs one of path and weights", f"{path}.path=FILE")
        if self.normalize is not None:
            check_normalize(self.normalize, f"{path}.normalize")


PRETRAIN: dict[str, type] = {
    "none": NoneConfig,
    "st": StandardConfig,
    "at": AdversarialConfig,
    "cr": ConsistencyConfig,
    "simclr": SimCLRConfig,
    "checkpoint": CheckpointConfig,
}
FINETUNE: dict[str, type] = {
    "st": StandardConfig,
    "st_linear": LinearConfig,
    "at": AdversarialConfig,
    "cr": ConsistencyConfig,
}
