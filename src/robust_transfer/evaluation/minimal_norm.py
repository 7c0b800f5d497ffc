"""Distance of every image to the nearest misclassified point that a search finds."""

from __future__ import annotations

import functools

import torch

from robust_transfer.attacks import minimal_norm
from robust_transfer.config.evaluator import Settings
from robust_transfer.config.evaluators import MinimalNormConfig
from robust_transfer.core.numerics import arithmetic
from robust_transfer.evaluation.attack import AttackEvaluator, Outcomes, options_of, tried
from robust_transfer.evaluation.protocol import EvalContext
from robust_transfer.evaluation.recompute import Findings, Row

# No image leaves early, so that nothing is gained by handing over more than one batch.
BATCHES_AT_ONCE = 1


def minimal_norm_evaluator(config: MinimalNormConfig) -> AttackEvaluator:
    """Search around every image; `distance` is infinite where no misclassified point was found."""
    return AttackEvaluator(config, functools.partial(_run, config), batches_at_once=BATCHES_AT_ONCE)


def _run(
    config: MinimalNormConfig,
    context: EvalContext,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    outcomes: Outcomes,
) -> None:
    options = options_of(config, compiled=context.compile) | tried(context, config.guards)
    del options["radii"]  # of the summary alone
    with arithmetic("fp32"):
        fast = context.fast_model("fp32")
        result = minimal_norm(
            context.model, pixels, labels, index=outcomes.indices, gradient_model=fast, **options
        )
    outcomes.add(range(len(pixels)), result)


def minimal_norm_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Hold `robust` against the distance, and the distance against the predictions."""
    image, distance = f"image {row['index']}", float(row["distance"])
    findings.check(f"{image}: robust", row["robust"], str(int(distance > float(settings["eps"]))))
    findings.check(f"{image}: distance is 0", distance == 0, row["clean_prediction"] != row["label"])
    found = row["adversarial_prediction"] != row["label"]
    findings.check(f"{image}: distance is finite", distance < float("inf"), found)
    findings.check(f"{image}: rows in the journal", len(entries), 1)
