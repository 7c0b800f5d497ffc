"""Reopen a finished evaluation: its journal, device, model and images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robust_transfer.config.data import DataConfig
from robust_transfer.core.errors import ConfigError, EvaluationError
from robust_transfer.core.numerics import deterministic
from robust_transfer.core.progress import ProgressBar
from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.opening import open_split
from robust_transfer.distributed.devices import device_name
from robust_transfer.evaluation.images import ImageBatch, read_parts
from robust_transfer.evaluation.measured_model import reopen_model
from robust_transfer.evaluation.protocol import EvalContext
from robust_transfer.evaluation.warnings import Warnings
from robust_transfer.models import load_model
from robust_transfer.models.fast import weights_hash
from robust_transfer.models.normalized import Classifier
from robust_transfer.smoothing.noise import SCHEME, noise_backend
from robust_transfer.store import directories
from robust_transfer.store.journal import journals, read_journal
from robust_transfer.store.records import Summary
from robust_transfer.store.stage_config import StageConfig, read_stage_config

Row = dict[str, str]


@dataclass(frozen=True)
class FinishedEvaluation:
    """A finished evaluation with what it takes to measure part of it again.

    header, rows : of its journals
    """

    path: Path
    summary: Summary
    config: StageConfig
    header: dict[str, Any]
    rows: list[Row]
    device: torch.device
    model: Classifier
    dataset: ImageDataset

    @property
    def compiled(self) -> bool:
        """Whether low precision was computed by compiled kernels."""
        return str(self.header.get("kernels")).startswith("compiled")

    @property
    def _references(self) -> dict[str, str]:
        """Keys of the models that the evaluator read beside the measured one."""
        references: dict[str, str] = self.config.identity.get("references", {})
        return references

    def images(self, indices: Sequence[int]) -> ImageBatch:
        """Read the test images at `indices`.

        Raises
        ------
        EvaluationError : an index beyond the test set
        """
        out_of_range = [index for index in indices if not 0 <= index < len(self.dataset)]
        if out_of_range:
            raise EvaluationError(
                f"{self.path.name} names images {out_of_range[:5]} (expected 0..{len(self.dataset) - 1})"
            )
        (images,) = read_parts(
            self.dataset,
            indices,
            image_size=self.config.identity["image_size"],
            whole_image=self.config.identity["whole_image"],
            part_size=len(indices),
            num_workers=0,
        )
        return images

    @contextmanager
    def context(self, directory: Path, *, total: int) -> Iterator[EvalContext]:
        """Set the model up as it was; warnings raised now go to `directory`.

        Raises
        ------
        EvaluationError : low precision, and the kernels are not those of this machine
        """
        with deterministic(), closing(ProgressBar("redraw", total=total)) as progress:
            context = EvalContext(
                self.model.to(self.device),
                self.device,
                self.compiled,
                progress,
                Warnings(directory, 0),
                references={name: _trained(self.path, key) for name, key in self._references.items()},
            )
            kernels, recorded = context.kernels(self.config.config.arithmetic), self.header.get("kernels")
            if "kernels" in self.header and kernels != recorded:
                raise EvaluationError(
                    f"{self.path.name} was computed by kernels '{recorded}' (found '{kernels}' here)",
                    "in low precision another kernel is another classifier: run it where it was computed",
                )
            yield context


def reopen(stage_dir: Path, data: DataConfig) -> FinishedEvaluation:
    """Open a finished evaluation.

    Parameters
    ----------
    stage_dir : its directory inside a store
    data : where the images are

    Raises
    ------
    EvaluationError, DataError : it is not finished, or cannot be measured again: the model is not in the
        store nor where its file was or has changed, another noise sampler or device, other images
    """
    stage = directories.StageDirectory(stage_dir)
    summary, config = stage.summary(), read_stage_config(stage_dir)
    if summary is None:
        raise EvaluationError(f"{stage_dir.name} is not a finished evaluation")
    if "whole_image" not in config.identity:
        raise EvaluationError(
            f"{stage_dir.name} does not say how its images were cut", _checkout(summary.commit)
        )
    contents = [read_journal(path) for path in journals(stage_dir)]
    rows = [row for _, part in contents for row in part]
    if not rows:
        raise EvaluationError(f"{stage_dir.name} has no journal (expected journal.0.csv)")
    header = contents[0][0]
    device = _device(header, stage_dir.name, summary.commit)
    record = stage.status().model_file
    model = (
        _trained(stage_dir, summary.parent)
        if record is None
        else reopen_model(record, summary.lineage, stage_dir.name)
    )
    dataset = open_split(config.dataset, data, config.dataset.evaluate_on, generated=config.generated)
    fingerprint = stage.status().fingerprint
    if fingerprint is not None and fingerprint != dataset.fingerprint():
        raise EvaluationError(
            f"{stage_dir.name} was measured on other images: fingerprint {fingerprint[:12]} "
            f"(found {dataset.fingerprint()[:12]})",
            f"rt-data status {config.dataset.name}",
        )
    return FinishedEvaluation(stage_dir, summary, config, header, rows, device, model, dataset)


def other_weights(evaluation: FinishedEvaluation) -> str | None:
    """Return the weights' hash in the journal if the model has another; None where they agree."""
    stated = evaluation.header.get("weights")
    return stated if stated is not None and stated != weights_hash(evaluation.model) else None


def _checkout(commit: str | None) -> str:
    return f"an older version measured it: git checkout {commit or 'that commit'}"


def _device(header: dict[str, Any], name: str, commit: str | None) -> torch.device:
    """Return a device of the journal's kind, or say that this machine has none."""
    recorded = header.get("device")
    device = torch.device("cpu")
    if recorded != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")
    if recorded != device_name(device):
        raise EvaluationError(
            f"{name} was drawn with device '{recorded}' (found '{device_name(device)}' here)",
            "run it where it was drawn",
        )
    sampler, backend = header.get("noise_backend"), noise_backend(device)
    if sampler is not None and sampler != backend:
        older = not str(sampler).startswith(f"{SCHEME}-")
        raise EvaluationError(
            f"{name} was drawn with noise sampler '{sampler}' (found '{backend}' here)",
            _checkout(commit) if older else "run it where it was drawn",
        )
    return device


def _trained(stage_dir: Path, key: str | None) -> Classifier:
    try:
        stage = directories.find(stage_dir.parents[1], (key or "")[:12])
    except ConfigError:
        raise EvaluationError(
            f"a model that {stage_dir.name} measured or read is not in the store ({key}: a file, or deleted)"
        ) from None
    return load_model(stage.model)
