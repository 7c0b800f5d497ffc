"""Every config dataclass, with the ranges and the meaning of its fields; imports no torch.

Values stand in conf/*.yaml, where each says whether the study states it or what it was derived from.
A field marked `identity=False` does not change a result and so is no part of a stage's key.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from robust_transfer.errors import ConfigError
from robust_transfer.schema import option, parse, parse_choice

ARITHMETICS = ("fp32", "tf32", "bf16")
NORMS = ("l2", "linf")
EVALUATORS = ("clean", "pgd", "autopgd", "autoattack", "certify")
LINEAR_PROBE = "linear_probe"  # rt-eval's word for a last layer that is trained, then measured by `clean`
AUTOATTACK_EXTRA = "pip install 'robust-transfer[autoattack]'"


@dataclass
class ModelConfig:
    """The architecture and the input it sees."""

    arch: str = option("architecture", choices=("resnet50", "resnet18", "resnet18_small"))
    width: int = option("channels of the first stage; other than 64 for resnet18_small only", low=1)
    image_size: int = option("height and width of the input in pixels", low=8)
    normalize: str | list[list[float]] = option(
        "imagenet, cifar, none, or [mean, std]; weights bring their own"
    )

    def check(self, path: str) -> None:
        """Refuse a width that torchvision's networks do not have, and an unknown normalisation."""
        if self.width != 64 and self.arch != "resnet18_small":
            raise ConfigError(
                f"{path}.width={self.width} (expected 64 for {self.arch})", "model=resnet18_small"
            )
        check_normalize(self.normalize, f"{path}.normalize")


def check_normalize(value: str | list[list[float]], path: str) -> None:
    """Refuse what is neither a known name nor two lists of three numbers with a positive deviation."""
    if isinstance(value, str):
        if value not in ("imagenet", "cifar", "none"):
            raise ConfigError(f"{path}='{value}' (expected imagenet, cifar, none or [mean, std])")
    elif (
        [len(part) for part in value] != [3, 3]
        or not all(math.isfinite(x) for part in value for x in part)
        or min(value[1]) <= 0
    ):
        raise ConfigError(f"{path}={value} (expected [[m, m, m], [s, s, s]] with s > 0)")


@dataclass
class DatasetConfig:
    """A data set and the part of it that is used."""

    name: str = option("name in the catalogue")
    root: str | None = option("folder of an imagefolder data set", identity=False)
    shots: int | None = option("training images per class; null: all", low=1)
    train_fraction: float | None = option("stratified share of the training set; null: all", above=0, high=1)
    partition: int | None = option("official partition of sun397 and dtd", low=1, high=10)
    split_seed: int | None = option(
        "seed of shots, train_fraction and validation; null: the run's seed", low=0
    )
    augment: str = option("training augmentation", choices=("crop_flip", "crop", "none"))
    validation_fraction: float = option("stratified share held out of the training set", low=0, below=1)
    evaluate_on: str = option("which split evaluators read", choices=("test", "validation"))

    def check(self, path: str) -> None:
        """Refuse combinations that contradict each other."""
        if self.shots is not None and self.train_fraction is not None:
            raise ConfigError(f"{path}.shots and {path}.train_fraction are both given (expected one)")
        if self.evaluate_on == "validation" and self.validation_fraction == 0:
            raise ConfigError(
                f"{path}.evaluate_on=validation needs a held-out part ({path}.validation_fraction is 0)",
                f"{path}.validation_fraction=0.1",
            )
        if self.name == "imagefolder" and not self.root:
            raise ConfigError(f"{path}.root is not given", f"{path}.root=DIR with train/ and test/ or val/")


@dataclass
class TrainingConfig:
    """What every training method has: optimiser, schedule, batch, precision."""

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
    schedule: str = option("learning-rate schedule", choices=("step", "cosine", "plateau"))
    step_epochs: int = option("step: epochs between two drops", low=1)
    gamma: float = option("step, plateau: factor of a drop", above=0, high=1)
    patience: int = option("plateau: epochs without a new best before a drop", low=1)
    drops: int = option("plateau: drops before the next one ends the run", low=0)
    select_on: str = option("plateau: where the best is measured", choices=("validation", "test"))
    warmup_epochs: float = option("epochs of linear warm-up from 0", low=0)
    precision: str = option("arithmetic of training", choices=ARITHMETICS)

    @property
    def train_sigma(self) -> float:
        """Standard deviation of the Gaussian noise that the model is trained under."""
        return 0.0

    def check(self, path: str) -> None:
        """Refuse a run without an end."""
        if self.epochs is None and self.max_steps is None and self.schedule != "plateau":
            raise ConfigError(f"{path}.epochs and {path}.max_steps are both null (expected an end)")
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ConfigError(
                f"{path}.micro_batch={self.micro_batch} does not divide batch_size={self.batch_size}"
            )


@dataclass
class StandardConfig(TrainingConfig):
    """ST: cross-entropy on clean images."""


@dataclass
class LinearConfig(TrainingConfig):
    """ST of the last layer: everything else frozen, BatchNorm statistics included."""


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

    attack: AttackConfig = option("the attack inside the step")


@dataclass
class ConsistencyConfig(TrainingConfig):
    """CR: Gaussian noise with consistency regularisation (Jeong and Shin 2020)."""

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
        unnamed="cpu",
    )

    def check(self, path: str) -> None:
        """Refuse micro-batches (negatives do not accumulate) and a schedule that measures accuracy."""
        super().check(path)
        if self.schedule == "plateau":
            raise ConfigError(
                f"{path}.schedule=plateau needs labels, which SimCLR does not use", f"{path}.schedule=cosine"
            )
        if self.micro_batch is not None:
            raise ConfigError(
                f"{path}.micro_batch={self.micro_batch} (expected null: negatives do not accumulate)",
                "less memory: more devices, runtime.activation_checkpointing=true, precision=bf16",
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


@dataclass
class CertifyConfig(EvaluatorConfig):
    """Randomized-smoothing certificates (Cohen et al. 2019)."""

    sigma: float = option("standard deviation of the noise; 0: the plain classifier with radius 0", low=0)
    n0: int = option("noise samples that choose the class, a multiple of 100", low=100)
    n: int = option("noise samples that bound its probability, a multiple of 100", low=100)
    alpha: float = option("error probability of an image's certificate", above=0, below=0.5)
    mode: str = option(
        "exact, decide (yes or no at radii), adaptive", choices=("exact", "decide", "adaptive")
    )
    radii: list[float] = option("radii that `decide` answers, besides 0", above=0)
    tolerance: float = option("adaptive: relative loss of radius allowed", above=0, below=1)
    seed: int = option("seed of the noise", low=0)
    allow_sigma_mismatch: bool = option("certify a model trained at another sigma, and mark the row")
    allow_nonfinite: bool = option("go on when logits are not finite (they vote for no class)")


@dataclass
class BudgetConfig:
    """Caps on what a run may cost; null: no cap. Paths of code, model and transforms stay the full run's."""

    name: str = option("full, short or smoke")
    smoke: bool = option("generated images, records marked and kept out of every table")
    max_steps: int | None = option("cap on optimiser steps of a stage", low=1)
    batch_size: int | None = option("cap on images per optimiser step", low=2)
    num_images: int | None = option("generated images per split of a smoke run", low=1)
    subset: int | None = option("cap on test images", low=1)
    attack_steps: int | None = option("cap on gradient steps of attack evaluators", low=1)
    n: int | None = option("cap on noise samples of certify", low=100)


@dataclass
class DataConfig:
    """Where images are and what is done when one is not right."""

    root: str = option("folder with all data sets, in torchvision's layout", identity=False)
    verify: bool = option("counts and checksums must be the catalogue's", identity=False)
    on_error: str = option("an image cannot be read", choices=("stop", "skip"), identity=False)


@dataclass
class RuntimeConfig:
    """How a run uses the machine; changes no result beyond rounding."""

    devices: int | str = option("number of devices, or auto", low=1, choices=("auto",))
    device: str = option("kind of device", choices=("auto", "cpu", "cuda"))
    num_workers: int = option("data loading processes per device", low=0)
    compile: bool = option("torch.compile")
    channels_last: bool = option("channels-last memory layout")
    activation_checkpointing: bool = option("recompute activations: less memory, more time")
    save_every_steps: int = option("optimiser steps between two checkpoints", low=1)
    log_every_steps: int = option("optimiser steps between two lines of metrics.jsonl", low=1)
    loggers: list[str] = option("further loggers", choices=("tensorboard", "wandb"))
    sync_batchnorm: bool = option("BatchNorm over all devices; false: their number enters the key")

    def check(self, path: str) -> None:
        """Refuse a number of devices that enters the key but is not known when the run is planned."""
        if not self.sync_batchnorm and self.devices == "auto":
            raise ConfigError(
                f"{path}.sync_batchnorm=false needs a number of devices (they enter the key)",
                f"{path}.devices=N",
            )


@dataclass
class EvaluatorNodes:
    """The evaluators' settings, shared by rt-train and rt-eval."""

    clean: CleanConfig = option("clean accuracy")
    pgd: PGDConfig = option("PGD")
    autopgd: AutoPGDConfig = option("AutoPGD")
    autoattack: AutoAttackConfig = option("AutoAttack")
    certify: CertifyConfig = option("certificates")


@dataclass
class TrainConfig(EvaluatorNodes):
    """Everything that rt-train can be told; `source`, `pretrain`, ... are config groups."""

    model: ModelConfig = option("architecture")
    source: DatasetConfig = option("data of pre-training")
    pretrain: TrainingConfig | NoneConfig | CheckpointConfig = option("pre-training")
    dataset: DatasetConfig | None = option("target data set; null with until=pretrain only")
    finetune: TrainingConfig | None = option("fine-tuning; null with until=pretrain only")
    budget: BudgetConfig = option("caps on cost")
    data: DataConfig = option("where images are")
    runtime: RuntimeConfig = option("how the machine is used")
    evaluators: list[str] | str = option("evaluators to run, or auto", choices=("auto", *EVALUATORS))
    seed: int = option("seed of fine-tuning and of the shots drawn", low=0)
    until: str | None = option("where to stop", choices=("pretrain", "finetune"))
    store: str = option("the runs' root", identity=False)
    on_failure: str = option("a job of a sweep fails", choices=("stop", "continue"), identity=False)
    label: str | None = option("name of the experiment preset, for reports", identity=False)

    def check(self, path: str) -> None:
        """Refuse a run past pre-training without a target."""
        if self.until != "pretrain" and self.finetune is None:
            raise ConfigError("finetune is not chosen", f"finetune=NAME, one of: {', '.join(FINETUNE)}")
        if self.until != "pretrain" and self.dataset is None:
            raise ConfigError("dataset is not chosen", "dataset=NAME; rt-data status lists them")


@dataclass
class EvaluateConfig(EvaluatorNodes):
    """Everything that rt-eval can be told."""

    checkpoint: str = option("a stage directory, a key, or a file")
    model: ModelConfig = option("architecture of a foreign file")
    format: str = option("format of a foreign file; auto: recognised by its keys")
    normalize: str | list[list[float]] | None = option("normalisation of a foreign file; null: its own")
    trust: bool = option("let the file run code while it is read", identity=False)
    dataset: DatasetConfig = option("data set to evaluate on")
    linear_probe: LinearConfig = option("training of the last layer by linear_probe")
    budget: BudgetConfig = option("caps on cost")
    data: DataConfig = option("where images are")
    runtime: RuntimeConfig = option("how the machine is used")
    evaluators: list[str] = option("evaluators to run", choices=(*EVALUATORS, LINEAR_PROBE))
    seed: int = option("seed of the shots drawn", low=0)
    store: str = option("the runs' root", identity=False)


def train_config(values: Mapping[str, Any]) -> TrainConfig:
    """Build rt-train's configuration from plain values, or raise ConfigError."""
    chosen = dict(values)
    chosen["pretrain"] = parse_choice(PRETRAIN, chosen.get("pretrain"), "pretrain")
    if chosen.get("finetune") is not None:
        chosen["finetune"] = parse_choice(FINETUNE, chosen["finetune"], "finetune")
    config: TrainConfig = parse(TrainConfig, {"dataset": None, "finetune": None, **chosen}, "")
    if isinstance(config.pretrain, TrainingConfig):
        config.source = _with_split_seed(config.source, config.pretrain.seed)
    if config.dataset is not None:
        config.dataset = _with_split_seed(config.dataset, config.seed)
    return config


def evaluate_config(values: Mapping[str, Any]) -> EvaluateConfig:
    """Build rt-eval's configuration from plain values, or raise ConfigError."""
    if not values.get("checkpoint"):
        raise ConfigError("checkpoint is not given", "checkpoint=DIR, KEY or FILE; rt-report runs lists keys")
    if not values.get("dataset"):
        raise ConfigError("dataset is not chosen", "dataset=NAME; rt-data status lists them")
    config: EvaluateConfig = parse(EvaluateConfig, values, "")
    if not config.evaluators:
        raise ConfigError("evaluators is empty", f"choose from: {', '.join(EVALUATORS)}")
    config.dataset = _with_split_seed(config.dataset, config.seed)
    return config


def _with_split_seed(dataset: DatasetConfig, seed: int) -> DatasetConfig:
    return dataset if dataset.split_seed is not None else dataclasses.replace(dataset, split_seed=seed)
