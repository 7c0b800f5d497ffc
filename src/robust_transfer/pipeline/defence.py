"""`defence=denoiser`: a model behind a denoiser is another model, with a key of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from robust_transfer.config.run import EvaluateConfig
from robust_transfer.pipeline.foreign import digest
from robust_transfer.pipeline.stage import CheckpointMetadata
from robust_transfer.store.records import Lineage


def defended(model: CheckpointMetadata, config: EvaluateConfig) -> CheckpointMetadata:
    """Return the metadata of a model behind the denoiser of `denoiser=`; without one, the model's.

    It belongs to no stage, so that no table takes its certificates for those of the model alone.

    Raises
    ------
    CheckpointError : as in `models.read_denoiser`
    """
    if config.denoiser is None:
        return model
    from robust_transfer.models import read_denoiser
    from robust_transfer.models.importers import content_sha256

    path = Path(config.denoiser)
    read_denoiser(path)
    sha256, lineage = content_sha256(path), model.lineage
    return dataclasses.replace(
        model,
        key=digest(model.key, "denoiser", sha256),
        lineage=Lineage(
            pretrain="checkpoint",
            file_sha256=lineage.file_sha256 or content_sha256(model.path),
            defence=f"denoiser {sha256[:12]}",
            arch=lineage.arch,
            width=lineage.width,
            image_size=lineage.image_size,
        ),
        train_sigma=None,  # the noise that the classifier sees is what the denoiser leaves
        denoiser=path.resolve(),
        marks=(*model.marks, "denoised"),
    )
