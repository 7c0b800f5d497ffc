"""Draw some journalled noise samples again and compare the votes: a check of the counts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from robust_transfer.config.data import DataConfig
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.certify import CertifyEvaluator
from robust_transfer.evaluation.class_counts import ESTIMATE, SELECT, UnitCounts
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.recompute import Findings
from robust_transfer.evaluation.reopening import Row, other_weights, reopen
from robust_transfer.smoothing.counts import ClassCounts, Unit

# What a unit may cost on average: small units are drawn along with few large ones.
SAMPLES_PER_BLOCK = 4000


@dataclass
class Redrawn:
    """What was measured again, and where it differs.

    blocks, samples : how many units or images, and how many noise samples or gradient steps they took
    """

    findings: Findings
    what: str
    blocks: int = 0
    samples: int = 0


def redraw(stage_dir: Path, *, blocks: int, seed: int, data: DataConfig) -> Redrawn:
    """Draw up to `blocks` journalled units of a certification again and compare the counts of every class.

    They are drawn by `seed` among all units; a unit that would take the total above 4,000 samples a
    block is passed over for a smaller one. They are drawn on the kind of device, with the noise sampler, the
    arithmetic, the kernels and the forward shape of the journal; votes may then differ by the near ties met
    now, whose logits another kernel rounds the other way. What the journal says of near ties gives no room.

    Parameters
    ----------
    stage_dir : the directory of a finished evaluation inside a store
    blocks : units to draw, at least 1
    data : where the images are

    Raises
    ------
    EvaluationError, DataError : it cannot be drawn again here: the model is not in the store, another noise
        sampler, device or kernel, other images
    """
    assert blocks >= 1, blocks
    evaluation = reopen(stage_dir, data)
    redrawn = Redrawn(Findings(), "units redrawn ({:,} noise samples)")
    if stated := other_weights(evaluation):
        redrawn.findings.differences.append(f"the journal is of other weights ({stated[:12]})")
        return redrawn
    chosen = choose(evaluation.rows, blocks=blocks, seed=seed)
    images = evaluation.images(sorted({int(row["index"]) for row in chosen}))
    evaluator = CertifyEvaluator(evaluation.config.config)
    with evaluation.context(stage_dir, total=len(chosen)) as context:
        for purpose in (ESTIMATE, SELECT):
            rows = [row for row in chosen if row["purpose"] == purpose]
            units = [_unit(row, images) for row in rows]
            for row, (unit, drawn) in zip(rows, evaluator.draw(context, images, units, purpose), strict=True):
                _compare(row, drawn, redrawn.findings)
                redrawn.blocks += 1
                redrawn.samples += unit.stop - unit.start
                context.progress.step()
    return redrawn


def choose(rows: Sequence[Row], *, blocks: int, seed: int) -> list[Row]:
    """Pick units in an order keyed by `seed`, each that the number of samples still leaves room for."""
    units = {(int(row["index"]), row["purpose"], int(row["start"])): row for row in rows}
    ordered = [units[name] for name in sorted(units)]
    budget = max(blocks * SAMPLES_PER_BLOCK, min(_samples(row) for row in ordered))
    chosen: list[Row] = []
    for position in torch.randperm(len(ordered), generator=rng.generator(seed, "redraw")).tolist():
        row = ordered[position]
        if len(chosen) < blocks and _samples(row) <= budget:
            chosen.append(row)
            budget -= _samples(row)
    return chosen


def _samples(row: Row) -> int:
    return int(row["stop"]) - int(row["start"])


def _unit(row: Row, images: ImageBatch) -> Unit:
    index = int(row["index"])
    return Unit(images.indices.tolist().index(index), index, int(row["start"]), int(row["stop"]))


def _compare(row: Row, drawn: ClassCounts, findings: Findings) -> None:
    """Compare one unit; only samples whose two largest logits nearly tie now may have gone the other way."""
    what = f"image {row['index']}: {row['purpose']} samples {row['start']}..{row['stop']}"
    try:
        unit, slack = UnitCounts.read(row), drawn.near_ties
    except (EvaluationError, ValueError) as error:
        findings.differences.append(f"{what}: {error}")
        return
    classes = sorted({*unit.counts.votes, *(drawn.votes if "counts" in row else ())})
    for name in classes:
        stated, votes = unit.counts.votes[name], drawn.votes[name]
        findings.check(f"{what}: votes for {name}", stated, _within(stated, votes, slack))
    findings.check(f"{what}: ties", unit.counts.ties, _within(unit.counts.ties, drawn.ties, slack))
    # Near ties themselves lie on an edge: as many may have come as have gone.
    near = _within(unit.counts.near_ties, drawn.near_ties, max(1, slack))
    findings.check(f"{what}: near ties", unit.counts.near_ties, near)
    findings.check(f"{what}: nonfinite", unit.counts.nonfinite, drawn.nonfinite)
    if row["purpose"] == SELECT:
        near_tie = unit.guess >= 0 and drawn.votes[drawn.top] - drawn.votes[unit.guess] <= 2 * slack
        findings.check(f"{what}: guess", unit.guess, unit.guess if near_tie else drawn.top)


def _within(stated: int, drawn: int, slack: int) -> int:
    """Return `stated` if it may be what was drawn, else what was drawn."""
    return stated if abs(stated - drawn) <= slack else drawn


def to_text(redrawn: Redrawn) -> str:
    """Say how much was measured again; what differs is listed with the other findings."""
    differ = len(redrawn.findings.differences)
    return f"{redrawn.blocks} {redrawn.what.format(redrawn.samples)}, {differ} numbers differ\n"
