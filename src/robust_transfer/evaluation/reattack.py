"""Attack some images of a finished evaluation again and compare the outcomes."""

from __future__ import annotations

import tempfile
from pathlib import Path

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

    They are drawn by `seed` among all images. An image whose two best logits nearly tie now may go the
    other way: fewer images make other forward shapes, which round differently.

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
    rows = {int(row["index"]): row for row in evaluation.rows}
    order = torch.randperm(len(rows), generator=rng.generator(seed, "reattack")).tolist()
    chosen = sorted(sorted(rows)[position] for position in order[:blocks])
    images = evaluation.images(chosen)
    evaluator = evaluation.config.config.spec.build(evaluation.config.config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.0.csv"
        with (
            evaluation.context(Path(folder), total=len(chosen)) as context,
            Journal(path, header={}, columns=evaluator.journal_columns) as journal,
        ):
            evaluator.measure(context, images, [], journal)
        again = read_journal(path)[1]
    labels = evaluation.dataset.labels
    stated = {record["index"]: record for record in evaluator.records(list(rows.values()), labels)}
    ties = {int(row["index"]) for row in again if row.get("near_tie") in ("1", "True")}
    for record in evaluator.records(again, labels):
        index = record["index"]
        redrawn.blocks += 1
        redrawn.samples += record["gradient_steps"]
        for name in OUTCOME if index not in ties else ("label",):
            old, new = stated[index][name], record[name]
            redrawn.findings.check(f"image {index}: {name}", format_cell(old), format_cell(new))
    return redrawn
