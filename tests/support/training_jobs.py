"""Small configurations and jobs for tests of training: a narrow network on real 8x8 digits."""

import copy
import dataclasses
import functools
import tempfile
from pathlib import Path

from torch import nn

from robust_transfer.config.data import DataConfig, DatasetConfig
from robust_transfer.config.eps_schedules import ConstantEps, RampEps
from robust_transfer.config.methods import (
    FINETUNE,
    PRETRAIN,
    AdversarialConfig,
    AttackConfig,
    ConsistencyConfig,
    LinearConfig,
    SimCLRConfig,
    StandardConfig,
    TrainingConfig,
)
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.config.schedules import CosineSchedule, PlateauSchedule, StepSchedule
from robust_transfer.config.weights import AdversarialWeights, MovingAverage, NoAverage, NoPerturbation
from robust_transfer.models.checkpoint import save_model
from robust_transfer.models.normalized import build_model
from robust_transfer.store.job import ModelFile, StageJob
from robust_transfer.store.records import Lineage
from robust_transfer.store.stage_config import StageConfig

METHODS = sorted(name for name, c in {**PRETRAIN, **FINETUNE}.items() if issubclass(c, TrainingConfig))
COMMON = {
    "seed": 0,
    "epochs": 2,
    "max_steps": None,
    "batch_size": 10,
    "micro_batch": None,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "beta2": 0.999,
    "nesterov": False,
    "weight_decay": 1e-4,
    "clip_grad_norm": None,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "schedule": StepSchedule(step_epochs=1, gamma=0.1),
    "warmup_epochs": 0.0,
    "precision": "fp32",
    "freeze": "none",
    "freeze_statistics": True,
    "first": None,
    "keep_head": False,
    "weight_average": NoAverage(),
}
ATTACK = AttackConfig(norm="l2", eps=0.5, num_steps=3, step_size=None, random_start=True)
# Of a method that does not stand here, the shipped values are taken.
SPECIFIC = {
    "st": (StandardConfig, {}),
    "st_linear": (LinearConfig, {}),
    "at": (
        AdversarialConfig,
        {
            "attack": ATTACK,
            "eps_schedule": ConstantEps(),
            "weight_perturbation": NoPerturbation(),
            "use_best": False,
        },
    ),
    "cr": (
        ConsistencyConfig,
        {"sigma": 0.5, "num_noise_samples": 2, "consistency_weight": 5.0, "entropy_weight": 0.5},
    ),
    "simclr": (
        SimCLRConfig,
        {
            "temperature": 0.1,
            "projection_dim": 16,
            "projection_layers": 2,
            "color_strength": 0.5,
            "decoupled": False,
            "expected_linear_probe": None,
            "augment_on": "cpu",
            "zero_init_residual": True,
            "loss_scale": 2.0,
            "optimizer": "lars",
            "schedule": CosineSchedule(),
            "warmup_epochs": 0.5,
        },
    ),
}


# Shipped sizes that would take most of a test's time.
SMALLER: dict[str, dict] = {
    "crt": {"transfer_weight": 0.5},
    "swav": {
        "small_views": 1,
        "small_side": 0.5,
        "projection_hidden": 16,
        "projection_dim": 8,
        "num_prototypes": 5,
        "freeze_steps": 2,
        "queue_size": 6,
        "queue_start_epoch": 0,
    },
    "byol": {"projection_hidden": 16, "projection_dim": 8},
    "moco": {"projection_dim": 8, "queue_size": 9, "bn_group": 2},
}
# Methods with an option that changes their steps, by the names of their recipes.
VARIANTS: dict[str, tuple[str, dict]] = {
    "at_awp": ("at", {"weight_perturbation": AdversarialWeights(radius=0.01, start_epoch=0)}),
    "trades_awp": ("trades", {"weight_perturbation": AdversarialWeights(radius=0.01, start_epoch=0)}),
    "at_ema": ("at", {"weight_average": MovingAverage(decay=0.9, start_epochs=0.2)}),
    "byol_ema": ("byol", {"weight_average": MovingAverage(decay=0.9, start_epochs=0.2)}),
    "at_layer2": ("at", {"freeze": "layer2"}),
    "at_ramp": ("at", {"eps_schedule": RampEps(start=0.1, end=0.6)}),
}


def plateau(*, gamma=0.1, patience=2, drops=1, select_on="validation") -> PlateauSchedule:
    return PlateauSchedule(gamma=gamma, patience=patience, drops=drops, select_on=select_on)


def make_method(name: str, **changes) -> TrainingConfig:
    if name in VARIANTS:
        base, option = VARIANTS[name]
        return make_method(base, **{**option, **changes})
    config_type, specific = SPECIFIC.get(name) or shipped(name)
    return config_type(**{"name": name, **COMMON, **specific, **SMALLER.get(name, {}), **changes})


def references_like(config: TrainingConfig, model: nn.Module) -> dict[str, nn.Module]:
    """Models that a method may read: frozen copies of the one that it trains."""
    return {
        name: copy.deepcopy(model).requires_grad_(False).eval() for name in config.spec.references(config)
    }


def _reference_files(config: TrainingConfig, model: ModelConfig) -> dict[str, ModelFile]:
    names = config.spec.references(config)
    return {
        name: ModelFile(_reference_file(config.spec.needs_labels, model.width), "f" * 12) for name in names
    }


@functools.cache
def _reference_file(labelled: bool, width: int) -> Path:
    classes = [str(k) for k in range(10)] if labelled else []
    model = build_model(
        "resnet18_small",
        num_classes=len(classes),
        class_names=classes,
        image_size=16,
        width=width,
        normalize="none",
        seed=1,
    )
    path = Path(tempfile.mkdtemp()) / "reference.safetensors"
    save_model(path, model, key="f" * 12)
    return path


@functools.cache
def shipped(name: str) -> tuple[type[TrainingConfig], dict]:
    """A method's class and the values of conf/ that `COMMON` does not have."""
    from tiny_runs import composed

    if name in FINETUNE:
        config = composed("pretrain=none", f"finetune={name}", "dataset=pets").finetune
    else:
        config = composed(f"pretrain={name}", "until=pretrain").pretrain
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return type(config), {name: value for name, value in values.items() if name not in COMMON}


def make_runtime(**changes) -> RuntimeConfig:
    values = {
        "devices": 1,
        "device": "cpu",
        "num_workers": 0,
        "compile": False,
        "channels_last": False,
        "activation_checkpointing": False,
        "save_every_steps": 4,
        "save_every_minutes": 60.0,
        "log_every_steps": 1,
        "loggers": [],
        "sync_batchnorm": True,
    }
    return RuntimeConfig(**{**values, **changes})


def make_job(
    name: str,
    directory: Path,
    *,
    runtime: RuntimeConfig | None = None,
    parent: Path | None = None,
    validation_fraction: float = 0.0,
    **changes,
) -> StageJob:
    """A stage on 5 digits per class, 50 images, 5 steps an epoch at the common batch size."""
    stage = StageConfig(
        kind="finetune" if parent else "pretrain",
        key="0" * 12,
        identity={},
        config=make_method(name, **changes),
        model=ModelConfig(arch="resnet18_small", width=4, image_size=16, normalize="none"),
        dataset=DatasetConfig(
            name="digits",
            root=None,
            shots=5,
            train_fraction=None,
            partition=None,
            split_seed=0,
            augment="none",
            validation_fraction=validation_fraction,
            evaluate_on="test",
        ),
        generated=None,
        lineage=Lineage(),
        marks=(),
    )
    return StageJob(
        stage,
        ModelFile(parent, "f" * 12) if parent else None,
        DataConfig(root="data", verify=True, on_error="stop"),
        runtime or make_runtime(),
        directory,
        _reference_files(stage.config, stage.model),
    )
