"""From a configuration to ordered stages and their parents; pure, and without torch.

The metadata of files (a checkpoint, the catalogue) are read before and passed in.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

from robust_transfer.config.evaluators import PROBED_BY, evaluators
from robust_transfer.config.methods import CheckpointConfig, NoneConfig, TrainingConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.run import EvaluateConfig, TrainConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.pipeline.checks import check_head
from robust_transfer.pipeline.stage import CheckpointMetadata, DatasetMetadata, Stage
from robust_transfer.pipeline.stage_plans import evaluation_stage, finetune_stage, pretrain_stage


def plan_training(
    config: TrainConfig,
    *,
    source: DatasetMetadata | None,
    target: DatasetMetadata | None,
    checkpoint: CheckpointMetadata | None = None,
    start: CheckpointMetadata | None = None,
    references: Mapping[str, CheckpointMetadata] | None = None,
) -> list[Stage]:
    """Return the stages of one run in the order in which they are computed.

    Parameters
    ----------
    config : as composed; limits of the budget are applied here
    source, target : the catalogue's metadata; None where the run has no such stage
    checkpoint : metadata of the file of pretrain=checkpoint
    start : a finished pre-training stage to start from, with pretrain=none
    references : the finished stages that the methods read as well, by their names in the configuration

    Raises
    ------
    ConfigError, EvaluationError, CheckpointError : parts of the run contradict each other
    """
    stages: list[Stage] = []
    pretrain: Stage | CheckpointMetadata | None = start
    finished = references or {}
    if not isinstance(config.pretrain, NoneConfig):
        pretrained = pretrain_stage(config, config.pretrain, source, checkpoint, finished)
        stages += _in_order(pretrained)
        pretrain = pretrained
    elif config.until == "pretrain":
        raise ConfigError(
            "until=pretrain with pretrain=none leaves nothing to run", "pretrain=st, at, cr, simclr"
        )
    if config.until == "pretrain":
        return stages
    assert target is not None and config.dataset is not None and config.finetune is not None
    finetune = finetune_stage(config, config.finetune, config.dataset, target, pretrain, finished)
    stages += _in_order(finetune)
    if config.until != "finetune":
        for name in chosen_evaluators(config, config.finetune, pretrain):
            stages.append(
                evaluation_stage(
                    name, config, config.dataset, target, finetune, config.finetune.train_sigma, finished
                )
            )
    return stages


def probe_run(
    config: EvaluateConfig, *, pretrain: NoneConfig | CheckpointConfig, model: ModelConfig
) -> TrainConfig:
    """Return the run that a linear probe is: finetune=st_linear on a pre-training, then clean accuracy."""
    return TrainConfig(
        evaluator_settings=config.evaluator_settings,
        model=model,
        source=config.dataset,  # not read: nothing is pre-trained
        pretrain=pretrain,
        dataset=config.dataset,
        finetune=config.linear_probe,
        budget=config.budget,
        data=config.data,
        runtime=config.runtime,
        evaluators=[PROBED_BY],
        seed=config.seed,
        until=None,
        store=config.store,
        on_failure="stop",
        label=None,
    )


def plan_evaluation(
    config: EvaluateConfig,
    *,
    target: DatasetMetadata,
    checkpoint: CheckpointMetadata,
    references: Mapping[str, CheckpointMetadata] | None = None,
) -> list[Stage]:
    """Return the evaluation stages of one checkpoint.

    references : the finished stages that evaluators read as well, by their names in the configuration
    """
    check_head(checkpoint, target, config.dataset.name)
    config = dataclasses.replace(config, model=checkpoint.model)
    return [
        evaluation_stage(
            name, config, config.dataset, target, checkpoint, checkpoint.train_sigma, references or {}
        )
        for name in config.evaluators
    ]


def chosen_evaluators(
    config: TrainConfig, finetune: TrainingConfig, parent: Stage | CheckpointMetadata | None
) -> list[str]:
    """Return the evaluators to run; `auto` takes those that suit the method."""
    if config.evaluators == "auto":
        method = parent.config if isinstance(parent, Stage) else None
        inherited = method.spec.default_evaluators(method, ()) if isinstance(method, TrainingConfig) else ()
        return list(finetune.spec.default_evaluators(finetune, inherited))
    chosen = [config.evaluators] if isinstance(config.evaluators, str) else config.evaluators
    if not chosen:
        raise ConfigError("evaluators is empty", f"choose from: auto, {', '.join(evaluators())}")
    if "auto" in chosen:
        raise ConfigError(f"evaluators={chosen} (expected auto alone, or names)", "evaluators=auto")
    return chosen


def _in_order(stage: Stage) -> list[Stage]:
    """Return a stage after the stages of its kind that it starts from or reads."""
    models = (stage.parent, *stage.references.values())
    before = [model for model in models if isinstance(model, Stage) and model.kind == stage.kind]
    stages = [*itertools.chain.from_iterable(map(_in_order, before)), stage]
    return list({stage.key: stage for stage in stages}.values())
