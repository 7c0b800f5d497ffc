"""Accuracy on adversarial images transferred from another model."""

from __future__ import annotations

from typing import Any

from robust_transfer.attacks import transfer
from robust_transfer.config.evaluators import TransferConfig
from robust_transfer.evaluation.attack import AttackEvaluator, OneCall
from robust_transfer.evaluation.protocol import EvalContext


def transfer_evaluator(config: TransferConfig) -> AttackEvaluator:
    """Attack the source and evaluate on its images; no image finishes early: one batch at a time will do."""
    return AttackEvaluator(config, OneCall(config, transfer, _source), batches_at_once=1)


def _source(context: EvalContext) -> dict[str, Any]:
    return {"source": context.references["source"]}
