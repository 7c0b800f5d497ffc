"""Distance of every image to the nearest misclassified point that a search finds."""

from __future__ import annotations

from typing import Any

from robust_transfer.attacks import minimal_norm
from robust_transfer.attacks.state import AttackResult
from robust_transfer.config.evaluator import Settings
from robust_transfer.config.evaluators import MinimalNormConfig
from robust_transfer.evaluation.attack import AttackEvaluator, OneCall, fast_gradients
from robust_transfer.evaluation.recompute import Findings, Row


def minimal_norm_evaluator(config: MinimalNormConfig) -> AttackEvaluator:
    """Search around every image; `distance` is infinite where no misclassified point was found.

    No image finishes early, so one batch at a time will do.
    """
    return AttackEvaluator(config, OneCall(config, _search, fast_gradients), batches_at_once=1)


def _search(*arguments: Any, radii: list[float], **options: Any) -> AttackResult:
    """Search without the radii, which only the summary uses."""
    return minimal_norm(*arguments, **options)


def minimal_norm_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Hold `robust` against the distance, and the distance against the predictions."""
    image, distance = f"image {row['index']}", float(row["distance"])
    findings.check(f"{image}: robust", row["robust"], str(int(distance > float(settings["eps"]))))
    findings.check(f"{image}: distance is 0", distance == 0, row["clean_prediction"] != row["label"])
    misclassified = row["adversarial_prediction"] != row["label"]
    findings.check(f"{image}: distance is finite", distance < float("inf"), misclassified)
    findings.check(f"{image}: rows in the journal", len(entries), 1)
