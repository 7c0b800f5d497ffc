"""Accuracy on adversarial images that were made on another model."""

from __future__ import annotations

import functools

import torch

from robust_transfer.attacks import transfer
from robust_transfer.config.evaluators import TransferConfig
from robust_transfer.core.numerics import arithmetic
from robust_transfer.evaluation.attack import AttackEvaluator, Outcomes, options_of, tried
from robust_transfer.evaluation.protocol import EvalContext

# No image leaves a run early, so that nothing is gained by handing over more than one batch.
BATCHES_AT_ONCE = 1


def transfer_evaluator(config: TransferConfig) -> AttackEvaluator:
    """Make images on the source and judge them."""
    return AttackEvaluator(config, functools.partial(_run, config), batches_at_once=BATCHES_AT_ONCE)


def _run(
    config: TransferConfig,
    context: EvalContext,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    outcomes: Outcomes,
) -> None:
    options = options_of(config, compiled=context.compile) | tried(context, config.guards)
    options["source"] = context.references["source"]
    with arithmetic("fp32"):
        result = transfer(context.model, pixels, labels, index=outcomes.indices, **options)
    outcomes.add(range(len(pixels)), result)
