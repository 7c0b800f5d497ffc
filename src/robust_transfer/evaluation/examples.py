"""A few test images of a finished evaluation beside what it put in their place, for a picture."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_transfer.config.data import DataConfig
from robust_transfer.evaluation.attack import AttackEvaluator
from robust_transfer.evaluation.reopening import FinishedEvaluation, reopen
from robust_transfer.smoothing.noise import noise_block


@dataclass(frozen=True)
class Examples:
    """Images (N, C, H, W) in [0, 1] in two forms, with a few words about each.

    indices : positions in the test set
    what : what the changed ones are
    """

    indices: list[int]
    what: str
    images: Tensor
    changed: Tensor
    said_before: list[str]
    said_after: list[str]


def adversarial(stage_dir: Path, *, count: int, data: DataConfig) -> Examples:
    """Attack images again, half of them, where there are so many, such that the attack broke.

    Parameters
    ----------
    stage_dir : the directory of a finished attack inside a store
    count : images at most
    data : where the images are

    Raises
    ------
    EvaluationError, DataError : it cannot be attacked again, as in `reattack`
    """
    evaluation = reopen(stage_dir, data)
    evaluator = evaluation.config.config.spec.build(evaluation.config.config)
    assert isinstance(evaluator, AttackEvaluator)
    records = [r for r in evaluator.records(evaluation.rows, evaluation.dataset.labels) if r["correct"]]
    broken, robust = ([r for r in records if bool(r["robust"]) is held] for held in (False, True))
    kept = _spread(broken, max(count - len(robust), count // 2))
    chosen = [*kept, *_spread(robust, count - len(kept))]
    images = evaluation.images([record["index"] for record in chosen])
    with (
        tempfile.TemporaryDirectory() as folder,
        evaluation.context(Path(folder), total=len(chosen)) as context,
    ):
        changed = evaluator.adversarial(context, images)
    before, after = (
        [f"says {_name(evaluation, record[f'{kind}_prediction'])}" for record in chosen]
        for kind in ("clean", "adversarial")
    )
    return Examples(images.indices.tolist(), "adversarial image", images[:], changed, before, after)


def noisy(stage_dir: Path, *, count: int, data: DataConfig) -> Examples:
    """Draw a noisy copy of images from the smallest radius to the largest.

    Parameters
    ----------
    stage_dir : the directory of a finished certification inside a store
    count : images at most
    data : where the images are

    Raises
    ------
    EvaluationError, DataError : it cannot be drawn again, as in `redraw`
    """
    evaluation = reopen(stage_dir, data)
    config: Any = evaluation.config.config
    evaluator = config.spec.build(config)
    records = sorted(
        evaluator.records(evaluation.rows, evaluation.dataset.labels), key=lambda record: record["radius"]
    )
    chosen = _spread(records, count)
    images = evaluation.images([record["index"] for record in chosen])
    copies = [
        image
        + config.sigma * noise_block(image.shape, seed=config.seed, purpose="select", index=i, block=0)[0]
        for image, i in zip(images[:], images.indices.tolist(), strict=True)
    ]
    labels = [f"is {_name(evaluation, record['label'])}" for record in chosen]
    after = [_certified(evaluation, record) for record in chosen]
    return Examples(images.indices.tolist(), "noisy copy", images[:], torch.stack(copies), labels, after)


def _spread(records: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return so many of some records, evenly spaced."""
    places = torch.linspace(0, len(records) - 1, max(0, min(count, len(records)))).round().long().tolist()
    return [records[place] for place in places]


def _certified(evaluation: FinishedEvaluation, record: dict[str, Any]) -> str:
    if record["prediction"] < 0:
        return "abstains"
    return f"says {_name(evaluation, record['prediction'])}, radius {record['radius']:.2f}"


def _name(evaluation: FinishedEvaluation, label: int) -> str:
    names: Sequence[str] = evaluation.dataset.class_names
    return names[label] if 0 <= label < len(names) else str(label)
