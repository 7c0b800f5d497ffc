"""Attack some images of a finished evaluation again and compare the outcomes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from robust_transfer.config.data import DataConfig
from robust_transfer.core import rng
from robust_transfer.evaluation.recompute import Findings
from robust_transfer.evaluation.redraw import Redrawn
from robust_transfer.evaluation.reopening import reopen
from robust_transfer.store.journal import Journal, format_cell, read_journal

OUTCOME = ("label", "clean_prediction", "correct", "robust")


def reattack(stage_dir: Path, *, blocks: int, seed: int, data: DataConfig) -> Redrawn:
    """Attack `blocks` images again, from the same keyed starts, and compare labels, predictions and flags.

    They are drawn by `seed`, at least half of them among those that are stated as correct, as no other is
    attacked. An image whose two best logits nearly tie now may go the other way: fewer images make other
    forward shapes, which round differently.

    Parameters
    ----------
    stage_dir : the directory of a finished attack inside a store
    blocks : images to attack, at least 1
    data : where the images are

    Raises
    ------
    EvaluationError, DataError : it cannot be attacked again: the model is not in the store, another device,
        other images
    """
    assert blocks >= 1, blocks
    evaluation = reopen(stage_dir, data)
    redrawn = Redrawn(Findings(), "images attacked again ({:,} gradient steps)")
    evaluator = evaluation.config.config.spec.build(evaluation.config.config)
    labels = evaluation.dataset.labels
    stated = {record["index"]: record for record in evaluator.records(evaluation.rows, labels)}
    chosen = choose(stated, blocks=blocks, seed=seed)
    images = evaluation.images(chosen)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.0.csv"
        with (
            evaluation.context(Path(folder), total=len(chosen)) as context,
            Journal(path, header={}, columns=evaluator.journal_columns) as journal,
        ):
            evaluator.measure(context, images, [], journal)
        again = read_journal(path)[1]
    ties = {int(row["index"]) for row in again if row.get("near_tie") in ("1", "True")}
    for record in evaluator.records(again, labels):
        index = record["index"]
        redrawn.blocks += 1
        redrawn.samples += record["gradient_steps"]
        for name in OUTCOME if index not in ties else ("label",):
            old, new = stated[index][name], record[name]
            redrawn.findings.check(f"image {index}: {name}", format_cell(old), format_cell(new))
    return redrawn


def choose(stated: Mapping[int, Mapping[str, Any]], *, blocks: int, seed: int) -> list[int]:
    """Draw indices of records by `seed`, at least half of them of correct images while there are any."""
    generator = rng.generator(seed, "reattack")
    shuffled = [sorted(stated)[i] for i in torch.randperm(len(stated), generator=generator).tolist()]
    attacked = [index for index in shuffled if stated[index]["correct"]][: (blocks + 1) // 2]
    others = [index for index in shuffled if index not in attacked]
    return sorted(attacked + others[: max(0, blocks - len(attacked))])
