"""The stage `pretrain=checkpoint`: a foreign file becomes a `model.safetensors` of ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from robust_transfer.config.methods import CheckpointConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.core.logging import logger
from robust_transfer.models.checkpoint import save_model
from robust_transfer.models.container import read_header
from robust_transfer.models.importers.detect import OURS
from robust_transfer.models.importers.load import import_checkpoint, is_own_file
from robust_transfer.models.importers.report import ImportReport
from robust_transfer.models.metadata import parse_metadata
from robust_transfer.models.normalized import Classifier
from robust_transfer.models.zoo import own_normalize


def import_stage(
    path: str | Path, to: str | Path, config: CheckpointConfig, model: ModelConfig, *, key: str
) -> dict[str, Any]:
    """Import the weights at `path`, log the report, write the backbone to `to`; return the report.

    The head of a file of ours is kept, for a second stage that starts from it; another's is left out.

    Raises
    ------
    CheckpointError, ConfigError : as in `import_checkpoint`
    """
    imported, report = read_for(path, config, model, keep_head=_has_own_head(path, config))
    for line in report.lines():
        logger.info(line)
    save_model(to, imported, key=key)
    return {"import": asdict(report)}


def read_for(
    path: str | Path, config: CheckpointConfig, model: ModelConfig, *, keep_head: bool
) -> tuple[Classifier, ImportReport]:
    """Read the weights at `path` as `pretrain=checkpoint` is configured, into the network of the run."""
    return import_checkpoint(
        path,
        arch=model.arch,
        width=model.width,
        image_size=model.image_size,
        format=config.file_format,
        normalize=config.normalize or own_normalize(config.weights),
        trust=config.trust,
        part=config.part,
        prefix=config.prefix,
        channels=config.channels,
        keep_head=keep_head,
    )


def _has_own_head(path: str | Path, config: CheckpointConfig) -> bool:
    if config.weights is not None or config.format not in ("auto", OURS) or not is_own_file(path):
        return False
    return bool(parse_metadata(read_header(path), path).class_names)
