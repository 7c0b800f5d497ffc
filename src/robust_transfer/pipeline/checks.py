"""What a plan refuses: parts that are valid by themselves and contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

from robust_transfer.config.data import DatasetConfig
from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.config.schedules import PlateauSchedule
from robust_transfer.config.schema import settings as values_of
from robust_transfer.core import named
from robust_transfer.core.errors import CheckpointError, ConfigError, EvaluationError
from robust_transfer.distributed.division import check_division
from robust_transfer.distributed.environment import num_processes, started_by_launcher
from robust_transfer.pipeline.stage import CheckpointMetadata, DatasetMetadata, Stage


def check_builder(method: TrainingConfig) -> None:
    """Refuse a method whose objective cannot be imported."""
    if problem := named.problem(method.spec.builder):
        raise ConfigError(
            f"method {method.name}: no objective is built from {type(method).__name__} ({problem})",
            f"correct `builder` in the spec of {type(method).__module__}.{type(method).__name__}",
        )


def check_devices(stages: Sequence[Stage], runtime: RuntimeConfig) -> None:
    """Refuse a number of devices that does not divide a batch of an unfinished stage."""
    number = num_processes() if started_by_launcher() else runtime.devices
    if not isinstance(number, int):
        return
    for stage in stages:
        if isinstance(stage.config, TrainingConfig):
            check_division(stage.config.batch_size, number)
            if stage.config.micro_batch is not None:
                check_division(stage.config.micro_batch, number, what="a micro-batch")


def check_selection(method: TrainingConfig, dataset: DatasetConfig, group: str) -> None:
    """Refuse a plateau without images to measure on that are not trained on."""
    schedule = method.schedule
    if not isinstance(schedule, PlateauSchedule) or schedule.select_on == "test":
        return
    if dataset.validation_fraction == 0:
        raise ConfigError(
            f"{method.name}: schedule=plateau needs a held-out part of the training set "
            f"({group}.validation_fraction is 0)",
            f"{group}.validation_fraction=0.1",
        )


def check_kept_head(
    method: TrainingConfig, parent: Stage | CheckpointMetadata | None, target: DatasetMetadata
) -> None:
    """Refuse to start from a last layer that is absent, or for another number of classes."""
    if not method.keep_head:
        return
    if parent is None:
        raise ConfigError(
            "finetune.keep_head=true keeps no head of pretrain=none", "finetune.keep_head=false"
        )
    if isinstance(parent, Stage) and parent.kind == "finetune":
        return  # on the same data set, before this one
    origin = parent.parent if isinstance(parent, Stage) else parent
    num_classes, expected = getattr(origin, "num_classes", None), target.num_classes
    if None not in (num_classes, expected) and num_classes != expected:
        raise ConfigError(
            f"finetune.keep_head=true, and the parent's head has {num_classes} classes (expected {expected})",
            "finetune.keep_head=false, or a parent that is fine-tuned on the same data set",
        )


def sigma_mismatch(settings: EvaluatorConfig, train_sigma: float | None, *, allowed: bool) -> bool:
    """Say whether a model is smoothed at another sigma than trained; refuse it unless asked for by name."""
    sigma, name = settings.spec.noise_sigma(values_of(settings)), settings.spec.name
    if not sigma or train_sigma is None or train_sigma == sigma:
        return False
    if not (allowed or getattr(settings, "allow_sigma_mismatch", False)):
        raise EvaluationError(
            f"{name}.sigma={sigma:g} but the model is trained at sigma={train_sigma:g}",
            f"{name}.sigma={train_sigma:g}, or {name}.allow_sigma_mismatch=true to mark the row",
        )
    return True


def check_classes(settings: EvaluatorConfig, num_classes: int | None) -> None:
    """Refuse a loss that ranks more classes than there are."""
    values, name = values_of(settings), settings.spec.name
    minimum = settings.spec.least_classes(values)
    if num_classes is not None and num_classes < minimum:
        raise ConfigError(
            f"{name}.loss={values.get('loss')} needs at least {minimum} classes (found {num_classes})",
            f"{name}.loss=ce",
        )


def check_head(checkpoint: CheckpointMetadata, target: DatasetMetadata, dataset: str) -> None:
    """Refuse to evaluate a model whose head is for another number of classes."""
    if target.num_classes is not None and checkpoint.num_classes != target.num_classes:
        raise CheckpointError(
            f"the checkpoint's head has {checkpoint.num_classes} classes "
            f"(expected {target.num_classes}, as dataset '{dataset}')",
            "fine-tune it first: rt-train pretrain=checkpoint pretrain.path=FILE finetune=... dataset=...",
        )
