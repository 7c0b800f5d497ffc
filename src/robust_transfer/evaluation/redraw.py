"""Draw some journalled noise samples again and compare the votes: a check of the counts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robust_transfer.config.data import DataConfig
from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError, EvaluationError
from robust_transfer.core.numerics import deterministic
from robust_transfer.core.progress import Progress
from robust_transfer.data.opening import open_split
from robust_transfer.distributed.devices import device_name
from robust_transfer.evaluation.certify import ESTIMATE, SELECT, CertifyEvaluator
from robust_transfer.evaluation.images import ImageBatch, read_parts
from robust_transfer.evaluation.protocol import EvalContext
from robust_transfer.evaluation.recompute import Findings
from robust_transfer.evaluation.warnings import Warnings
from robust_transfer.models import load_model
from robust_transfer.models.fast import weights_hash
from robust_transfer.models.normalized import Classifier
from robust_transfer.smoothing.counts import ClassCounts, Unit
from robust_transfer.smoothing.noise import noise_backend
from robust_transfer.store import directories
from robust_transfer.store.journal import journals, read_journal
from robust_transfer.store.records import Summary
from robust_transfer.store.stage_config import StageConfig, read_stage_config

# What a unit may cost on average: small units are drawn along with few large ones.
SAMPLES_PER_BLOCK = 4000

Row = dict[str, str]


@dataclass
class Redrawn:
    """What was drawn again, and where the counts differ.

    blocks, samples : how many journalled units, and how many noise samples they hold
    """

    findings: Findings
    blocks: int = 0
    samples: int = 0


def redraw(stage_dir: Path, *, blocks: int, seed: int, data: DataConfig) -> Redrawn:
    """Draw up to `blocks` journalled units of a certification again and compare guess, votes and ties.

    Which ones is drawn by `seed` among all units; a unit that would take the total above 4,000 samples a
    block is passed over for a smaller one. They are drawn on the kind of device, with the noise sampler, the
    arithmetic and the forward shape of the journal; votes may then differ by near ties alone, whose logits
    another kernel rounds the other way. A certification in bf16 or tf32 by a compiled model rounds more than
    that, and may show small differences.

    Parameters
    ----------
    stage_dir : the directory of a finished evaluation inside a store
    blocks : units to draw, at least 1
    data : where the images are

    Raises
    ------
    EvaluationError, DataError : it cannot be drawn again here: no certification, the model is not in the
        store, another noise sampler or device, other images
    """
    assert blocks >= 1, blocks
    stage = directories.StageDirectory(stage_dir)
    summary = stage.summary()
    if summary is None:
        raise EvaluationError(f"{stage_dir.name} is not a finished evaluation")
    header, rows = _journal(stage_dir)
    device = _device(header, stage_dir.name)
    model = _model(stage, summary)
    redrawn = Redrawn(Findings())
    redrawn.findings.check("hash of the weights", header.get("weights"), weights_hash(model))
    if redrawn.findings.differences:
        return redrawn
    chosen = choose(rows, blocks=blocks, seed=seed)
    settings = read_stage_config(stage_dir)
    images = _images(stage, settings, data, sorted({int(row["index"]) for row in chosen}))
    evaluator = CertifyEvaluator(settings.config)
    with deterministic(), closing(Progress("redraw", total=len(chosen))) as progress:
        warnings = Warnings(stage_dir, 0)  # read, never written: drawing again notes none
        context = EvalContext(model.to(device), device, False, progress, warnings)
        for purpose in (ESTIMATE, SELECT):
            some = [row for row in chosen if row["purpose"] == purpose]
            units = [_unit(row, images) for row in some]
            for row, (unit, drawn) in zip(some, evaluator.draw(context, images, units, purpose), strict=True):
                _compare(row, drawn, redrawn.findings)
                redrawn.blocks += 1
                redrawn.samples += unit.stop - unit.start
                progress.step()
    return redrawn


def choose(rows: Sequence[Row], *, blocks: int, seed: int) -> list[Row]:
    """Pick units in an order keyed by `seed`, each that the number of samples still leaves room for."""
    units = {(int(row["index"]), row["purpose"], int(row["start"])): row for row in rows}
    ordered = [units[name] for name in sorted(units)]
    left = max(blocks * SAMPLES_PER_BLOCK, min(_samples(row) for row in ordered))
    chosen: list[Row] = []
    for position in torch.randperm(len(ordered), generator=rng.generator(seed, "redraw")).tolist():
        row = ordered[position]
        if len(chosen) < blocks and _samples(row) <= left:
            chosen.append(row)
            left -= _samples(row)
    return chosen


def _samples(row: Row) -> int:
    return int(row["stop"]) - int(row["start"])


def _compare(row: Row, drawn: ClassCounts, findings: Findings) -> None:
    """Compare one unit; only samples whose two largest logits nearly tie may have gone the other way."""
    what = f"image {row['index']}: {row['purpose']} samples {row['start']}..{row['stop']}"
    guess, count = int(row["guess"]), int(row["count"])
    slack = max(drawn.near_ties, int(row["near_ties"]))
    votes = drawn.votes[guess]
    findings.check(f"{what}: votes", count, count if abs(votes - count) <= slack else votes)
    ties = int(row["ties"])
    findings.check(f"{what}: ties", ties, ties if abs(drawn.ties - ties) <= slack else drawn.ties)
    findings.check(f"{what}: nonfinite", int(row["nonfinite"]), drawn.nonfinite)
    if row["purpose"] == SELECT:
        nearly = guess >= 0 and drawn.votes[drawn.top] - votes <= 2 * slack
        findings.check(f"{what}: guess", guess, guess if nearly else drawn.top)


# ---------------------------------------------------------------- what it was measured with


def _journal(stage_dir: Path) -> tuple[dict[str, Any], list[Row]]:
    found = [read_journal(path) for path in journals(stage_dir)]
    rows = [row for _, some in found for row in some]
    if not rows:
        raise EvaluationError(f"{stage_dir.name} has no journal (expected journal.0.csv)")
    return found[0][0], rows


def _device(header: dict[str, Any], name: str) -> torch.device:
    """Return a device of the journal's kind, or say that this machine has none."""
    wanted = header.get("device")
    device = torch.device("cpu")
    if wanted != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")
    for what, expected, found in (
        ("device", wanted, device_name(device)),
        ("noise sampler", header.get("noise_backend"), noise_backend(device)),
    ):
        if expected != found:
            raise EvaluationError(
                f"{name} was drawn with {what} '{expected}' (found '{found}' here)",
                "run it where it was drawn",
            )
    return device


def _model(stage: directories.StageDirectory, summary: Summary) -> Classifier:
    try:
        parent = directories.find(stage.path.parents[1], summary.parent or "")
    except ConfigError:
        raise EvaluationError(
            f"the model that {stage.path.name} evaluated is not in the store "
            f"({summary.parent}: a file, or deleted)"
        ) from None
    return load_model(parent.model)


def _images(
    stage: directories.StageDirectory, config: StageConfig, data: DataConfig, indices: list[int]
) -> ImageBatch:
    settings = config.dataset
    dataset = open_split(settings, data, settings.evaluate_on, generated=config.generated)
    known = stage.status().fingerprint
    if known is not None and known != dataset.fingerprint():
        raise EvaluationError(
            f"{stage.path.name} was measured on other images: fingerprint {known[:12]} "
            f"(found {dataset.fingerprint()[:12]})",
            f"rt-data status {settings.name}",
        )
    (images,) = read_parts(
        dataset,
        indices,
        image_size=config.identity["image_size"],
        whole_image=config.identity["whole_image"],
        part_size=len(indices),
        num_workers=0,
    )
    return images


def _unit(row: Row, images: ImageBatch) -> Unit:
    index = int(row["index"])
    return Unit(images.indices.tolist().index(index), index, int(row["start"]), int(row["stop"]))


def to_text(redrawn: Redrawn) -> str:
    """Say how much was drawn again; what differs is listed with the other findings."""
    differ = len(redrawn.findings.differences)
    return f"{redrawn.blocks} units redrawn ({redrawn.samples:,} noise samples), {differ} numbers differ\n"
