"""What a process needs to compute a stage, as plain values that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robust_transfer.config.data import DataConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.store.stage_config import StageConfig


@dataclass(frozen=True)
class ModelFile:
    """A model that a stage starts from, reads or measures.

    key : of the stage that made it, or of the file's content
    reading : how a foreign file is read; None: it is ours
    denoiser : a file with the denoiser that stands before the model
    """

    path: Path
    key: str
    reading: Mapping[str, Any] | None = None
    denoiser: Path | None = None


@dataclass(frozen=True)
class StageJob:
    """A training or an evaluation: the stage, its models, and where it is computed.

    stage : what is computed; the seed of its dataset's split is resolved
    parent : the model that is fine-tuned or evaluated; None: random weights
    directory : the stage's directory; what an interrupted run left there is taken up
    references : the frozen models that a method's spec names
    """

    stage: StageConfig
    parent: ModelFile | None
    data: DataConfig
    runtime: RuntimeConfig
    directory: Path
    references: Mapping[str, ModelFile] = field(default_factory=dict)
