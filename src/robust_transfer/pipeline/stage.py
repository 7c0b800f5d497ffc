"""A stage: one directory of the store, what is computed there and from what, and the key that names it.

A key is the hash of everything that changes a stage's result: the identity fields of its method, the
model, the data's identity in the catalogue, and the parent's key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from robust_transfer.config.data import DatasetConfig
from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.model import DEFAULT_WIDTH, ModelConfig
from robust_transfer.config.run import TrainConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.config.schema import identity
from robust_transfer.core.keys import content_key
from robust_transfer.store.directories import StageDirectory, scan
from robust_transfer.store.records import Lineage, Status
from robust_transfer.store.stage_config import StageConfig

STAGE_FORMAT = 2  # raised when what a key or a stage directory holds changes


@dataclass(frozen=True)
class DatasetMetadata:
    """The catalogue's metadata of a data set, as chosen by a DatasetConfig."""

    train_identity: dict[str, Any]
    test_identity: dict[str, Any]
    num_classes: int | None
    images: dict[str, tuple[int, int]] = field(default_factory=dict)  # split -> on disk, in the official list

    def tags(self, split: str) -> tuple[str, ...]:
        """Return the tag of a split that is not complete on disk."""
        present, expected = self.images.get("test" if split == "test" else "train", (0, 0))
        part = f"{self.train_identity['name']} {split} {present:,} of {expected:,}"
        return (part,) if present < expected else ()


@dataclass(frozen=True)
class CheckpointMetadata:
    """The metadata of the model that is fine-tuned or evaluated, before it is loaded."""

    key: str  # the stage's full key, or the hash of the file's content and how it is read
    path: Path
    arch: str
    num_classes: int
    train_sigma: float | None
    reading: dict[str, Any] | None = None  # how a foreign file is read; None: it is ours
    lineage: Lineage = field(default_factory=Lineage)
    marks: tuple[str, ...] = ()
    whole_image: bool | None = None  # test images are not cropped; None: as the data set's augmentation says
    image_size_source: str = "its own"
    denoiser: Path | None = None  # a file with what stands before the model
    normalization: str = ""  # mean, std and where they came from, in one line

    @property
    def model(self) -> ModelConfig:
        """The network as a configuration names it; its weights bring their normalisation."""
        lineage = self.lineage
        return ModelConfig(self.arch, lineage.width or DEFAULT_WIDTH, lineage.image_size or 0, "none")


@dataclass(frozen=True)
class Stage:
    """One directory of the store: what is computed there and from what."""

    kind: str
    label: str
    identity: dict[str, Any]
    config: Any  # TrainingConfig, CheckpointConfig or EvaluatorConfig, limits of the budget applied
    model: ModelConfig
    dataset: DatasetConfig
    generated: int | None  # images per split of a smoke run
    parent: Stage | CheckpointMetadata | None = None
    references: Mapping[str, Stage | CheckpointMetadata] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)
    marks: tuple[str, ...] = ()
    images: dict[str, tuple[int, int]] = field(default_factory=dict)  # see DatasetMetadata

    @cached_property
    def key(self) -> str:
        """The full sha256 of the stage's identity; directories and tables show 12 digits."""
        return content_key(self.identity)

    def stored(self) -> StageConfig:
        """Return the stage as config.yaml holds it."""
        return StageConfig(
            kind=self.kind,
            key=self.key,
            identity=self.identity,
            config=self.config,
            model=self.model,
            dataset=self.dataset,
            generated=self.generated,
            lineage=self.lineage,
            marks=self.marks,
        )

    @property
    def read_keys(self) -> set[str]:
        """Keys of the models that the stage starts from, measures or reads."""
        models = [*([self.parent] if self.parent else []), *self.references.values()]
        return {model.key for model in models}

    def directory(self, store: Path | str) -> StageDirectory:
        """Return where the stage lives under a store's root."""
        return StageDirectory(Path(store) / self.kind / f"{self.label}-{self.key[:12]}")


def stage_devices(stage: Stage, runtime: RuntimeConfig) -> int | str:
    """Return runtime.devices for a stage: `auto` is one device for a fine-tuning, whose batches are small."""
    return 1 if stage.kind == "finetune" and runtime.devices == "auto" else runtime.devices


def unfinished(stages: Sequence[Stage], store: Path | str) -> list[Stage]:
    """Return the stages of a run that are still to be computed or resumed, in their order.

    A finished training from packed results, without its weights, is one of them only if nothing reads it,
    so that it is asked for itself, or what reads it is still to be computed.
    """
    due: set[str] = set()
    for stage in reversed(stages):
        directory = stage.directory(store)
        if directory.state() == "done":
            continue
        readers = {other.key for other in stages if stage.key in other.read_keys}
        if not directory.packed() or not readers or readers & due:
            due.add(stage.key)
    return [stage for stage in stages if stage.key in due]


def older_stages(store: Path | str) -> int:
    """Count the stages of a store that were written in an older format, whose keys no plan can meet."""
    statuses = (directory.status() for directory in scan(store))
    return sum(status.format < STAGE_FORMAT for status in statuses if status != Status())


# ---------------------------------------------------------------- what a key holds


def training_identity(
    method: TrainingConfig,
    config: TrainConfig,
    dataset: DatasetConfig,
    metadata: DatasetMetadata,
    references: Mapping[str, Stage | CheckpointMetadata],
) -> dict[str, Any]:
    """Return the key's fields of a training, besides its model and parent."""
    identifying = {
        "format": STAGE_FORMAT,
        "recipe": method.recipe_version,
        "method": identity(method),
        "data": metadata.train_identity,
    }
    if not method.spec.own_views:
        identifying["augment"] = dataset.augment
    if not config.runtime.sync_batchnorm and config.runtime.devices not in (1, "auto"):
        identifying["batchnorm_devices"] = config.runtime.devices
    if config.runtime.on_nonfinite != "stop":
        identifying["on_nonfinite"] = config.runtime.on_nonfinite
    if references:
        identifying["references"] = {name: model.key for name, model in references.items()}
    return identifying


def evaluation_identity(
    name: str,
    settings: EvaluatorConfig,
    dataset: DatasetConfig,
    metadata: DatasetMetadata,
    parent: Stage | CheckpointMetadata,
    references: Mapping[str, Stage | CheckpointMetadata],
) -> dict[str, Any]:
    """Return the key's fields of an evaluation."""
    beside = {"references": {word: model.key for word, model in references.items()}} if references else {}
    return {
        "format": STAGE_FORMAT,
        "evaluator": name,
        "recipe": settings.recipe(),
        "settings": identity(settings),
        "data": metadata.test_identity,
        "whole_image": whole_image(dataset, parent),  # which of the two test transforms
        "image_size": parent.lineage.image_size,
        "parent": parent.key,
        **beside,
    }


def whole_image(dataset: DatasetConfig, parent: Stage | CheckpointMetadata) -> bool:
    """Tell whether test images are shown uncropped."""
    chosen = parent.whole_image if isinstance(parent, CheckpointMetadata) else None
    return dataset.augment == "none" if chosen is None else chosen


def model_identity(model: ModelConfig) -> dict[str, Any]:
    """Return what names an architecture, in keys and in lineages."""
    return {"arch": model.arch, "width": model.width, "image_size": model.image_size}
