"""The inputs of a plan: the catalogue's metadata, a checkpoint's, and which inputs are missing.

Reads files, imports no torch unless a foreign checkpoint must be read; passes what it read on to plan.py.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

from robust_transfer.config.data import DataConfig, DatasetConfig
from robust_transfer.config.evaluators import LINEAR_PROBE
from robust_transfer.config.method_spec import PARENT
from robust_transfer.config.methods import CheckpointConfig, NoneConfig, TrainingConfig
from robust_transfer.config.model import TIMM, ModelConfig
from robust_transfer.config.run import EvaluateConfig, TrainConfig
from robust_transfer.config.runtime import BudgetConfig
from robust_transfer.core import named
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.data import catalogue
from robust_transfer.data.once import once
from robust_transfer.data.selection import Selection
from robust_transfer.models import zoo
from robust_transfer.models.container import missing_file
from robust_transfer.models.folders import is_weights_folder
from robust_transfer.models.metadata import read_metadata
from robust_transfer.pipeline import foreign, plan
from robust_transfer.pipeline.defence import defended
from robust_transfer.pipeline.stage import CheckpointMetadata, DatasetMetadata, Stage
from robust_transfer.store import directories


def training_stages(config: TrainConfig) -> list[Stage]:
    """Look up what a run's configuration refers to and plan its stages."""
    config = dataclasses.replace(config, model=_resolved(config.model))
    _check_evaluators(config)
    source = target = checkpoint = None
    if isinstance(config.pretrain, CheckpointConfig):
        checkpoint = _pretrained_file(config, config.pretrain)
    elif not isinstance(config.pretrain, NoneConfig):
        source = dataset_metadata(config.source, config.budget, config.data)
    if config.dataset is not None:
        target = dataset_metadata(config.dataset, config.budget, config.data)
    return plan.plan_training(
        config, source=source, target=target, checkpoint=checkpoint, references=_references(config)
    )


def _resolved(model: ModelConfig) -> ModelConfig:
    """Put in timm's image size and statistics where a network of timm has its own."""
    if not model.arch.startswith(TIMM):
        return model
    from robust_transfer.models.timm_networks import own_values

    return own_values(model)


def _references(config: TrainConfig) -> dict[str, CheckpointMetadata]:
    """Find the finished stages that methods read beside the models that they train."""
    methods = [method for method in (config.pretrain, config.finetune) if isinstance(method, TrainingConfig)]
    references = [where for method in methods for where in method.spec.references(method).values()]
    named = {where for where in references if isinstance(where, str)} - {PARENT}
    finished = {where: finished_stage(where, config.store, "reference") for where in sorted(named)}
    return {**finished, **_evaluators_references(config)}


def _evaluators_references(config: TrainConfig | EvaluateConfig) -> dict[str, CheckpointMetadata]:
    """Find the finished stages that the chosen evaluators read beside the model that they measure."""
    chosen = [s for name, s in config.evaluator_settings.items() if name in config.evaluators]
    named = {where for settings in chosen for where in settings.spec.references(settings).values()}
    return {where: finished_stage(where, config.store, "reference") for where in sorted(named)}


def evaluation_stages(config: EvaluateConfig) -> list[Stage]:
    """Look up the checkpoint and the data set of an evaluation and plan its stages."""
    config = foreign.by_name(config)
    if config.model is not None:
        config = dataclasses.replace(config, model=_resolved(config.model))
    _check_evaluators(config)
    stages = _probe_stages(config) if LINEAR_PROBE in config.evaluators else []
    others = [name for name in config.evaluators if name != LINEAR_PROBE]
    if others:
        stages += plan.plan_evaluation(
            dataclasses.replace(config, evaluators=others),
            target=dataset_metadata(config.dataset, config.budget, config.data),
            checkpoint=evaluated_checkpoint(config),
            references=_evaluators_references(config),
        )
    return stages


def _probe_stages(config: EvaluateConfig) -> list[Stage]:
    """Plan the training and the evaluation of a last layer on a pre-training: a stage of ours, or a file."""
    target = dataset_metadata(config.dataset, config.budget, config.data)
    path = Path(config.checkpoint)
    if _is_foreign(path):
        method = CheckpointConfig(
            "checkpoint",
            str(path),
            None,
            config.format,
            config.normalize,
            config.trust,
            **foreign.where(config),
        )
        method.check("checkpoint")
        run = plan.probe_run(config, pretrain=method, model=foreign.file_metadata(path, config).model)
        return plan.plan_training(run, source=None, target=target, checkpoint=_pretrained_file(run, method))
    start = evaluated_checkpoint(config)
    if start.lineage.finetune:
        raise CheckpointError(
            f"linear_probe evaluates a pre-training (found a model fine-tuned by {start.lineage.finetune})",
            "checkpoint=KEY of its pre-training; rt-report runs lists them",
        )
    run = plan.probe_run(config, pretrain=NoneConfig("none"), model=start.model)
    return plan.plan_training(run, source=None, target=target, start=start)


def dataset_metadata(dataset: DatasetConfig, budget: BudgetConfig, data: DataConfig) -> DatasetMetadata:
    """Return the catalogue's identity of a data set's training part and of the part that is evaluated.

    Beside it, and not part of a key: how many images of each split are on disk.
    """
    entry = catalogue.get(dataset.name)
    if dataset.label in catalogue.names():
        raise ConfigError(
            f"label={dataset.label} is the name of a set of the catalogue", "choose another label"
        )
    generated = budget.num_images if budget.smoke else None
    selection = Selection.of(dataset, generated)
    whole = Selection(partition=dataset.partition, class_map=dataset.class_map, generated=generated)
    images = {}
    if generated is None:
        images = once(catalogue.coverage)(dataset.name, dataset.root or data.root, whole, verify=data.verify)
    training = catalogue.identity(dataset.name, selection, root=dataset.root)
    evaluated = training
    if dataset.evaluate_on == "test":
        evaluated = catalogue.identity(dataset.name, whole, root=dataset.root)
    return DatasetMetadata(
        train_identity=training,
        test_identity={**evaluated, "split": dataset.evaluate_on},
        num_classes=entry.num_classes,
        images=images,
    )


def expected_train_images(dataset: DatasetConfig) -> int | None:
    """Return how many images training sees by the catalogue's counts; None for a user's own folder."""
    entry = catalogue.get(dataset.name)
    if dataset.shots is not None and entry.num_classes is not None:
        return dataset.shots * entry.num_classes
    if entry.train is None:
        return None
    kept = round(entry.train * (1 - dataset.validation_fraction))
    return kept if dataset.train_fraction is None else round(kept * dataset.train_fraction)


def missing_input(stage: Stage, data: DataConfig) -> str | None:
    """Say in one line which input of a stage is missing, or None."""
    if stage.kind == "pretrain" and isinstance(stage.config, CheckpointConfig):
        return None  # its file was read to plan it
    dataset = stage.dataset
    split = dataset.evaluate_on if stage.kind == "eval" else "train"
    selection, missing = Selection.of(dataset, stage.generated), once(catalogue.missing)
    return missing(dataset.name, dataset.root or data.root, split, selection, verify=data.verify)


def _check_evaluators(config: TrainConfig | EvaluateConfig) -> None:
    for name, settings in config.evaluator_settings.items():
        spec = settings.spec
        if spec.package and name in config.evaluators and importlib.util.find_spec(spec.package[0]) is None:
            raise ConfigError(f"{name} needs the package {spec.package[0]}", spec.package[1])
        if spec.check:
            named.load(spec.check)(settings)


# ---------------------------------------------------------------- checkpoints


def evaluated_checkpoint(config: EvaluateConfig) -> CheckpointMetadata:
    """Find what `checkpoint=` names: a stage directory, a key in the store, or a file."""
    path = Path(config.checkpoint)
    if _is_foreign(path):
        return defended(foreign.file_metadata(path, config), config)
    stage = finished_stage(config.checkpoint, config.store, "checkpoint")
    foreign.check_stage(stage, config)
    return defended(dataclasses.replace(stage, whole_image=config.whole_image), config)


def finished_stage(name: str, store: Path | str, option: str) -> CheckpointMetadata:
    """Find the finished training stage that `option=name` names: its directory, key or model's file."""
    path = Path(name)
    if _is_foreign(path):
        raise CheckpointError(
            f"{option}={name} belongs to no stage (expected a stage's directory, key or file)",
            f"rt-train pretrain=checkpoint pretrain.path={name} until=pretrain makes one of it",
        )
    if path.is_dir():
        return _stage_metadata(directories.StageDirectory(path.resolve()))
    if path.is_file():
        return _stage_metadata(directories.StageDirectory(path.parent.resolve()))
    if re.fullmatch(r"[0-9a-f]{4,64}", name):
        return _stage_metadata(directories.find(store, name[:12]))
    if ":" in name:
        raise missing_file(path)
    raise CheckpointError(
        f"{option}={name} is neither a stage directory, a key nor a file",
        "rt-report runs lists the keys in the store",
    )


def _is_foreign(path: Path) -> bool:
    """Tell a file or folder of no stage; `model.safetensors` beside a status.json stands for its stage."""
    in_stage = path.name == "model.safetensors" and (path.parent / "status.json").is_file()
    return (path.is_file() and not in_stage) or is_weights_folder(path)


def _stage_metadata(stage: directories.StageDirectory) -> CheckpointMetadata:
    status = stage.status()
    if stage.kind == "eval" and status.state:
        raise CheckpointError(f"{stage.path} is an evaluation (expected a training stage)")
    if status.key is None:
        raise CheckpointError(f"{stage.path} is not a stage directory (it has no status.json)")
    if stage.state() != "done":
        raise CheckpointError(
            f"{stage.path} is not finished (state {status.state})",
            "run the command that began it again; it resumes",
        )
    metadata = read_metadata(stage.model)
    return CheckpointMetadata(
        key=status.key,
        path=stage.model,
        arch=metadata["arch"],
        num_classes=metadata["num_classes"],
        train_sigma=metadata["train_sigma"],
        lineage=dataclasses.replace(
            status.lineage,
            finetune_key=stage.key,
            arch=metadata["arch"],
            width=metadata["width"],
            image_size=metadata["image_size"],
        ),
        marks=status.marks,
        normalization=foreign.normalization(metadata["mean"], metadata["std"], "the stage's own"),
    )


def _pretrained_file(config: TrainConfig, pretrain: CheckpointConfig) -> CheckpointMetadata:
    from robust_transfer.models import describe_file, published_weights

    if pretrain.weights:
        path = published_weights(pretrain.weights, arch=config.model.arch)
    else:
        path = Path(str(pretrain.path))
    if not path.exists():
        raise missing_file(path)
    where, normalize = foreign.where(pretrain), pretrain.normalize or zoo.own_normalize(pretrain.weights)
    described = describe_file(
        path,
        arch=config.model.arch,
        width=config.model.width,
        image_size=config.model.image_size,
        format=pretrain.file_format,
        normalize=normalize,
        trust=pretrain.trust,
        **where,
    )
    if described["arch"] != config.model.arch:
        raise ConfigError(
            f"{path} holds a {described['arch']} (expected {config.model.arch})", f"model={described['arch']}"
        )
    return CheckpointMetadata(
        key=foreign.digest(described["sha256"], pretrain.format, normalize, config.model, *where.items()),
        path=path.resolve(),
        arch=described["arch"],
        num_classes=described["num_classes"],
        train_sigma=described.get("train_sigma"),
    )
