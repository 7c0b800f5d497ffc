"""The stages of a plan, one by one: what a pre-training, a fine-tuning or an evaluation is computed from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from robust_transfer.config import schema
from robust_transfer.config.data import DatasetConfig
from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.method_spec import PARENT
from robust_transfer.config.methods import FINETUNE, PRETRAIN, CheckpointConfig, TrainingConfig
from robust_transfer.config.run import EvaluateConfig, TrainConfig
from robust_transfer.config.schedules import PlateauSchedule
from robust_transfer.core.errors import ConfigError
from robust_transfer.pipeline.checks import (
    check_builder,
    check_classes,
    check_head,
    check_kept_head,
    check_selection,
    sigma_mismatch,
)
from robust_transfer.pipeline.limits import limited_evaluator, limited_method
from robust_transfer.pipeline.stage import (
    CheckpointMetadata,
    DatasetMetadata,
    Stage,
    evaluation_identity,
    model_identity,
    training_identity,
)
from robust_transfer.store.records import Lineage


def _method(classes: Mapping[str, type], values: Mapping[str, Any], path: str) -> TrainingConfig:
    """Return the method of a stage that runs before another one, from its values."""
    trained = {name: cls for name, cls in classes.items() if issubclass(cls, TrainingConfig)}
    method: TrainingConfig = schema.parse_choice(trained, values, path)
    return method


def pretrain_stage(
    config: TrainConfig,
    method: Any,
    source: DatasetMetadata | None,
    checkpoint: CheckpointMetadata | None,
    finished: Mapping[str, CheckpointMetadata],
) -> Stage:
    """Plan a pre-training, and the pre-trainings that it reads; arguments as in `plan.plan_training`."""
    model = config.model
    references: Mapping[str, Stage | CheckpointMetadata] = {}
    if isinstance(method, CheckpointConfig):
        assert checkpoint is not None
        identity = {"file": checkpoint.key, "recipe": method.recipe_version, "model": model_identity(model)}
        lineage = Lineage(pretrain="checkpoint", **model_identity(model))
        label = f"checkpoint-{model.arch}"
    else:
        assert isinstance(method, TrainingConfig) and source is not None
        method = limited_method(method, config.budget)
        check_builder(method)
        check_selection(method, config.source, "source")
        references = _references(
            method,
            None,
            finished,
            lambda name, values: pretrain_stage(
                config, _method(PRETRAIN, values, f"pretrain.{name}"), source, None, finished
            ),
        )
        identity = {
            **training_identity(method, config, config.source, source, references),
            "model": {**model_identity(model), "normalize": model.normalize},
        }
        lineage = Lineage(
            pretrain=method.shown_name,
            pretrain_seed=method.seed,
            pretrain_expected_linear_probe=getattr(method, "expected_linear_probe", None),
            source=config.source.shown_name,
            **model_identity(model),
        )
        method.spec.check_references(method, {n: m.lineage for n, m in references.items()}, lineage)
        label = f"{method.shown_name}-{config.source.shown_name}-{model.arch}"
    marks = _marks(config, method, *references.values()) + (source.tags("train") if source else ())
    return Stage(
        kind="pretrain",
        label=label,
        identity={"kind": "pretrain", **identity},
        config=method,
        model=model,
        dataset=config.source,
        generated=_generated(config),
        parent=checkpoint,
        references=references,
        lineage=lineage,
        marks=marks,
        images=source.images if source else {},
    )


def finetune_stage(
    config: TrainConfig,
    finetune: TrainingConfig,
    dataset: DatasetConfig,
    target: DatasetMetadata,
    pretrain: Stage | CheckpointMetadata | None,
    finished: Mapping[str, CheckpointMetadata],
) -> Stage:
    """Plan a fine-tuning of `pretrain`, and the fine-tunings that it starts from or reads."""
    method = limited_method(finetune, config.budget)
    check_builder(method)
    check_selection(method, dataset, "dataset")
    parent = pretrain
    if method.first is not None:
        first = _method(FINETUNE, method.first, "finetune.first")
        parent = finetune_stage(config, first, dataset, target, pretrain, finished)
    check_kept_head(method, parent, target)
    references = _references(
        method,
        parent,
        finished,
        lambda name, values: finetune_stage(
            config, _method(FINETUNE, values, f"finetune.{name}"), dataset, target, pretrain, finished
        ),
    )
    model = model_identity(config.model)
    if parent is None:
        model["normalize"] = config.model.normalize  # pre-trained weights bring their own
    identity = {
        **training_identity(method, config, dataset, target, references),
        "model": model,
        "parent": parent.key if parent else None,
    }
    lineage = _finetune_lineage(config, method, dataset, parent)
    method.spec.check_references(method, {n: m.lineage for n, m in references.items()}, lineage)
    label = f"{method.shown_name}-{dataset.shown_name}-{lineage.pretrain or 'none'}-{config.model.arch}"
    marks = _marks(config, method, *([parent] if parent else []), *references.values())
    marks = tuple(dict.fromkeys((*marks, *target.tags("train"))))
    return Stage(
        kind="finetune",
        label=label,
        identity={"kind": "finetune", **identity},
        config=method,
        model=config.model,
        dataset=dataset,
        generated=_generated(config),
        parent=parent,
        references=references,
        lineage=lineage,
        marks=marks,
        images=target.images,
    )


def _finetune_lineage(
    config: TrainConfig,
    method: TrainingConfig,
    dataset: DatasetConfig,
    parent: Stage | CheckpointMetadata | None,
) -> Lineage:
    start = parent.lineage if parent else Lineage(pretrain="none", **model_identity(config.model))
    return dataclasses.replace(
        start,
        finetune=method.shown_name,
        finetune_key=None,  # a pre-training that was found in a store has its own there
        seed=method.seed,
        dataset=dataset.shown_name,
        shots=dataset.shots,
        train_fraction=dataset.train_fraction,
        split_seed=dataset.split_seed,
        train_sigma=method.train_sigma,
        experiment=config.label,
        pretrain_key=_pretrain_key(parent),
    )


def _pretrain_key(parent: Stage | CheckpointMetadata | None) -> str | None:
    """Return the key of the pre-training that a fine-tuning comes from, through one that runs before it."""
    if isinstance(parent, Stage) and parent.kind == "finetune":
        return parent.lineage.pretrain_key
    return parent.key[:12] if parent else None


def _references(
    method: TrainingConfig,
    parent: Stage | CheckpointMetadata | None,
    finished: Mapping[str, CheckpointMetadata],
    planned: Callable[[str, Mapping[str, Any]], Stage],
) -> dict[str, Stage | CheckpointMetadata]:
    """Return the models that a method reads beside the one that it trains, by their names in its spec.

    planned : plans the stage of a reference that is given by the values of a method
    """
    models: dict[str, Stage | CheckpointMetadata] = {}
    for name, where in method.spec.references(method).items():
        if where == PARENT and parent is None:
            raise ConfigError(
                f"method {method.name} keeps the model that it starts from ({name}), and it starts from none",
                "pretrain=NAME other than none",
            )
        if isinstance(where, dict):
            models[name] = planned(name, where)
        else:
            models[name] = parent if where == PARENT and parent is not None else finished[where]
    return models


def evaluation_stage(
    name: str,
    config: TrainConfig | EvaluateConfig,
    dataset: DatasetConfig,
    target: DatasetMetadata,
    parent: Stage | CheckpointMetadata,
    train_sigma: float | None,
    finished: Mapping[str, CheckpointMetadata],
) -> Stage:
    """Plan the evaluation of `parent` by the evaluator `name`."""
    settings = _settings(config, name)
    references = {word: finished[where] for word, where in settings.spec.references(settings).items()}
    for reference in references.values():
        check_head(reference, target, dataset.name)
    marks = [*parent.marks]
    if sigma_mismatch(settings, train_sigma, allowed=config.evaluators == "auto" and train_sigma == 0):
        marks.append("sigma mismatch")
    check_classes(settings, target.num_classes)
    settings = limited_evaluator(settings, config.budget)
    marks.extend((*_marks(config, settings, *references.values()), *target.tags(dataset.evaluate_on)))
    marks.extend(settings.spec.warnings(schema.settings(settings)))
    finetune_key = parent.key[:12] if isinstance(parent, Stage) else parent.lineage.finetune_key
    lineage = dataclasses.replace(parent.lineage, finetune_key=finetune_key)
    assert config.model is not None, "an evaluation's is its checkpoint's"
    return Stage(
        kind="eval",
        label=f"{name}-{dataset.shown_name}",
        identity={"kind": "eval", **evaluation_identity(name, settings, dataset, target, parent, references)},
        config=settings,
        model=config.model,
        dataset=dataset,
        generated=_generated(config),
        parent=parent,
        references=references,
        lineage=lineage,
        marks=tuple(dict.fromkeys(marks)),
        images=target.images,
    )


def _generated(config: TrainConfig | EvaluateConfig) -> int | None:
    return config.budget.num_images if config.budget.smoke else None


def _marks(
    config: TrainConfig | EvaluateConfig, method: Any, *made_from: Stage | CheckpointMetadata
) -> tuple[str, ...]:
    marks = [mark for model in made_from for mark in model.marks]
    if config.budget.smoke:
        marks.append("smoke")
    if not config.data.verify:
        marks.append("data not verified")
    if isinstance(method, TrainingConfig) and config.runtime.on_nonfinite == "skip":
        marks.append("non-finite batches skipped")
    schedule = getattr(method, "schedule", None)
    if isinstance(schedule, PlateauSchedule) and schedule.select_on == "test":
        marks.append("selected on test")
    return tuple(dict.fromkeys(marks))


def _settings(config: TrainConfig | EvaluateConfig, name: str) -> EvaluatorConfig:
    """Return an evaluator's node of the configuration."""
    if name not in config.evaluator_settings:
        raise ConfigError(
            f"evaluator '{name}' has no values (expected a node '{name}' in the configuration)",
            f"a file evaluator/{name}.yaml in --config-dir DIR",
        )
    return config.evaluator_settings[name]
