"""From a configuration to ordered stages with keys and parents; pure, and without torch.

A key is the hash of everything that changes a stage's result: the identity fields of its method, the
model, the data's identity in the catalogue, and the parent's key. What is known of files (a
checkpoint's content, the catalogue) is read before and handed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robust_transfer.budget import capped_evaluator, capped_method
from robust_transfer.config import (
    EVALUATORS,
    CertifyConfig,
    CheckpointConfig,
    DatasetConfig,
    EvaluateConfig,
    EvaluatorConfig,
    EvaluatorNodes,
    ModelConfig,
    NoneConfig,
    TrainConfig,
    TrainingConfig,
)
from robust_transfer.errors import CheckpointError, ConfigError, EvaluationError
from robust_transfer.schema import identity
from robust_transfer.store import StageDirectory

AUTO_EVALUATORS = {"at": ["autopgd"], "cr": ["certify"]}
STAGE_FORMAT = 1  # raised when what a stage directory holds changes


@dataclass(frozen=True)
class DataFacts:
    """What the catalogue knows of a data set, as chosen by a DatasetConfig."""

    train_identity: dict[str, Any]
    test_identity: dict[str, Any]
    num_classes: int | None


@dataclass(frozen=True)
class CheckpointFacts:
    """What is known of the model that is fine-tuned or evaluated before it is loaded."""

    key: str  # the stage's full key, or the hash of the file's content and how it is read
    path: Path
    arch: str
    num_classes: int
    train_sigma: float | None
    reading: dict[str, Any] | None = None  # how a foreign file is read; None: it is ours
    lineage: dict[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One directory of the store: what is computed there and from what."""

    kind: str
    label: str
    identity: dict[str, Any]
    config: Any  # TrainingConfig, CheckpointConfig or EvaluatorConfig, caps of the budget applied
    model: ModelConfig
    dataset: DatasetConfig
    generated: int | None  # images per split of a smoke run
    parent: Stage | CheckpointFacts | None = None
    lineage: dict[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The full sha256 of the stage's identity; directories and tables show 12 digits."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def directory(self, store: Path | str) -> StageDirectory:
        """Return where the stage lives under a store's root."""
        return StageDirectory(Path(store) / self.kind / f"{self.label}-{self.key[:12]}")


def plan_training(
    config: TrainConfig,
    *,
    source: DataFacts | None,
    target: DataFacts | None,
    checkpoint: CheckpointFacts | None = None,
    start: CheckpointFacts | None = None,
) -> list[Stage]:
    """Return the stages of one run in the order in which they are computed.

    Parameters
    ----------
    config : as composed; caps of the budget are applied here
    source, target : the catalogue's facts; None where the run has no such stage
    checkpoint : facts of the file of pretrain=checkpoint
    start : a finished pre-training stage to start from, with pretrain=none

    Raises
    ------
    ConfigError, EvaluationError, CheckpointError : anything in the run that cannot be right
    """
    stages: list[Stage] = []
    pretrain: Stage | CheckpointFacts | None = start
    if not isinstance(config.pretrain, NoneConfig):
        pretrain = _pretrain_stage(config, source, checkpoint)
        stages.append(pretrain)
    elif config.until == "pretrain":
        raise ConfigError(
            "until=pretrain with pretrain=none leaves nothing to run", "pretrain=st, at, cr, simclr"
        )
    if config.until == "pretrain":
        return stages
    assert target is not None and config.dataset is not None and config.finetune is not None
    finetune = _finetune_stage(config, config.finetune, config.dataset, target, pretrain)
    stages.append(finetune)
    if config.until != "finetune":
        for name in chosen_evaluators(config, config.finetune):
            stages.append(
                _evaluation_stage(name, config, config.dataset, target, finetune, config.finetune.train_sigma)
            )
    return stages


def probe_run(
    config: EvaluateConfig, *, pretrain: NoneConfig | CheckpointConfig, model: ModelConfig
) -> TrainConfig:
    """Return the run that a linear probe is: finetune=st_linear on a pre-training, then clean accuracy."""
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(EvaluatorNodes)}
    return TrainConfig(
        **shared,
        model=model,
        source=config.dataset,  # not read: nothing is pre-trained
        pretrain=pretrain,
        dataset=config.dataset,
        finetune=config.linear_probe,
        budget=config.budget,
        data=config.data,
        runtime=config.runtime,
        evaluators=["clean"],
        seed=config.seed,
        until=None,
        store=config.store,
        on_failure="stop",
        label=None,
    )


def plan_evaluation(config: EvaluateConfig, *, target: DataFacts, checkpoint: CheckpointFacts) -> list[Stage]:
    """Return the evaluation stages of one checkpoint."""
    if target.num_classes is not None and checkpoint.num_classes != target.num_classes:
        raise CheckpointError(
            f"the checkpoint's head has {checkpoint.num_classes} classes "
            f"(expected {target.num_classes}, as dataset '{config.dataset.name}')",
            "fine-tune it first: rt-train pretrain=checkpoint pretrain.path=FILE finetune=... dataset=...",
        )
    return [
        _evaluation_stage(name, config, config.dataset, target, checkpoint, checkpoint.train_sigma)
        for name in config.evaluators
    ]


def chosen_evaluators(config: TrainConfig, finetune: TrainingConfig) -> list[str]:
    """Return the evaluators to run; `auto` measures a method by what it is trained for."""
    if config.evaluators == "auto":
        return AUTO_EVALUATORS.get(finetune.name, ["autopgd", "certify"])
    chosen = [config.evaluators] if isinstance(config.evaluators, str) else config.evaluators
    if not chosen:
        raise ConfigError("evaluators is empty", f"choose from: auto, {', '.join(EVALUATORS)}")
    if "auto" in chosen:
        raise ConfigError(f"evaluators={chosen} (expected auto alone, or names)", "evaluators=auto")
    return chosen


# ---------------------------------------------------------------- stages


def _pretrain_stage(
    config: TrainConfig, source: DataFacts | None, checkpoint: CheckpointFacts | None
) -> Stage:
    method, model = config.pretrain, config.model
    if isinstance(method, CheckpointConfig):
        assert checkpoint is not None
        found = {"file": checkpoint.key, "recipe": method.recipe_version, "model": _model_identity(model)}
        lineage = {"pretrain": "checkpoint", **_model_identity(model)}
        label = f"checkpoint-{model.arch}"
        data = config.source
    else:
        assert isinstance(method, TrainingConfig) and source is not None
        method = capped_method(method, config.budget)
        check_selection(method, config.source, "source")
        found = {
            **_training_identity(method, config, config.source, source),
            "model": {**_model_identity(model), "normalize": model.normalize},
        }
        lineage = {
            "pretrain": method.name,
            "pretrain_seed": method.seed,
            "source": config.source.name,
            **_model_identity(model),
        }
        label = f"{method.name}-{config.source.name}-{model.arch}"
        data = config.source
    return _stage("pretrain", label, found, method, config, data, checkpoint, lineage, _marks(config, method))


def _finetune_stage(
    config: TrainConfig,
    finetune: TrainingConfig,
    dataset: DatasetConfig,
    target: DataFacts,
    pretrain: Stage | CheckpointFacts | None,
) -> Stage:
    method = capped_method(finetune, config.budget)
    check_selection(method, dataset, "dataset")
    model = _model_identity(config.model)
    if pretrain is None:
        model["normalize"] = config.model.normalize  # pre-trained weights bring their own
    found = {
        **_training_identity(method, config, dataset, target),
        "model": model,
        "parent": pretrain.key if pretrain else None,
    }
    lineage = {
        "pretrain": "none",
        **(pretrain.lineage if pretrain else _model_identity(config.model)),
        "finetune": method.name,
        "seed": method.seed,
        "dataset": dataset.name,
        "shots": dataset.shots,
        "train_fraction": dataset.train_fraction,
        "split_seed": dataset.split_seed,
        "train_sigma": method.train_sigma,
        "experiment": config.label,
        "pretrain_key": pretrain.key[:12] if pretrain else None,
    }
    lineage.pop("finetune_key", None)  # of a pre-training that was found in a store
    label = f"{method.name}-{dataset.name}-{lineage['pretrain']}-{config.model.arch}"
    marks = (*pretrain.marks, *_marks(config, method)) if pretrain else _marks(config, method)
    return _stage(
        "finetune", label, found, method, config, dataset, pretrain, lineage, tuple(dict.fromkeys(marks))
    )


def _evaluation_stage(
    name: str,
    config: TrainConfig | EvaluateConfig,
    dataset: DatasetConfig,
    target: DataFacts,
    parent: Stage | CheckpointFacts,
    train_sigma: float | None,
) -> Stage:
    settings: EvaluatorConfig = getattr(config, name)
    marks = [*parent.marks]
    if isinstance(settings, CertifyConfig):
        allowed = getattr(config, "evaluators", None) == "auto" and train_sigma == 0
        if settings.sigma != 0 and _sigma_mismatch(settings, train_sigma, allowed):
            marks.append("sigma mismatch")
    _check_classes(name, settings, target.num_classes)
    settings = capped_evaluator(settings, config.budget)
    marks.extend(_marks(config, settings))
    found = {
        "format": STAGE_FORMAT,
        "evaluator": name,
        "recipe": settings.recipe_version,
        "settings": identity(settings),
        "data": target.test_identity,
        "whole_image": dataset.augment == "none",  # which of the two test transforms
        "image_size": parent.lineage["image_size"],
        "parent": parent.key,
    }
    finetune_key = parent.key[:12] if isinstance(parent, Stage) else parent.lineage.get("finetune_key")
    lineage = {**parent.lineage, "finetune_key": finetune_key}
    label = f"{name}-{dataset.name}"
    return _stage(
        "eval", label, found, settings, config, dataset, parent, lineage, tuple(dict.fromkeys(marks))
    )


def _stage(
    kind: str,
    label: str,
    found: dict[str, Any],
    method: Any,
    config: TrainConfig | EvaluateConfig,
    dataset: DatasetConfig,
    parent: Stage | CheckpointFacts | None,
    lineage: dict[str, Any],
    marks: tuple[str, ...],
) -> Stage:
    return Stage(
        kind=kind,
        label=label,
        identity={"kind": kind, **found},
        config=method,
        model=config.model,
        dataset=dataset,
        generated=config.budget.num_images if config.budget.smoke else None,
        parent=parent,
        lineage=lineage,
        marks=marks,
    )


# ---------------------------------------------------------------- identity


def _training_identity(
    method: TrainingConfig, config: TrainConfig, dataset: DatasetConfig, facts: DataFacts
) -> dict[str, Any]:
    found = {
        "format": STAGE_FORMAT,
        "recipe": method.recipe_version,
        "method": identity(method),
        "data": facts.train_identity,
        "augment": dataset.augment,
    }
    if not config.runtime.sync_batchnorm and config.runtime.devices not in (1, "auto"):
        found["batchnorm_devices"] = config.runtime.devices
    return found


def _model_identity(model: ModelConfig) -> dict[str, Any]:
    return {"arch": model.arch, "width": model.width, "image_size": model.image_size}


def _marks(config: TrainConfig | EvaluateConfig, method: Any) -> tuple[str, ...]:
    marks = []
    if config.budget.smoke:
        marks.append("smoke")
    if not config.data.verify:
        marks.append("data not verified")
    if getattr(method, "schedule", None) == "plateau" and method.select_on == "test":
        marks.append("selected on test")
    return tuple(marks)


# ---------------------------------------------------------------- checks


def check_selection(method: TrainingConfig, dataset: DatasetConfig, group: str) -> None:
    """Refuse a plateau without images to measure on that are not trained on."""
    if method.schedule == "plateau" and method.select_on == "validation" and dataset.validation_fraction == 0:
        raise ConfigError(
            f"{method.name}: schedule=plateau needs a held-out part of the training set "
            f"({group}.validation_fraction is 0)",
            f"{group}.validation_fraction=0.1",
        )


def _sigma_mismatch(settings: CertifyConfig, train_sigma: float | None, allowed: bool) -> bool:
    """Say whether sigma differs from the training's; refuse it unless asked for by name."""
    if train_sigma is None or train_sigma == settings.sigma:
        return False
    if not (settings.allow_sigma_mismatch or allowed):
        raise EvaluationError(
            f"certify.sigma={settings.sigma:g} but the model is trained at sigma={train_sigma:g}",
            f"certify.sigma={train_sigma:g}, or certify.allow_sigma_mismatch=true to mark the row",
        )
    return True


def _check_classes(name: str, settings: EvaluatorConfig, num_classes: int | None) -> None:
    loss = getattr(settings, "loss", "")
    least = {"dlr": 3, "dlr_targeted": 4}.get(loss, 0)
    if num_classes is not None and num_classes < least:
        raise ConfigError(
            f"{name}.loss={loss} needs at least {least} classes (found {num_classes})",
            f"{name}.loss=ce",
        )
