"""Accuracy under AutoAttack."""

from __future__ import annotations

import torch

from robust_transfer.attacks import autoattack
from robust_transfer.attacks.autoattack import AutoAttackResult
from robust_transfer.config.evaluators import AutoAttackConfig
from robust_transfer.evaluation.attack import (
    COLUMNS,
    AttackEvaluator,
    OneCall,
    attack_rows,
    fast_gradients,
)
from robust_transfer.store.journal import Row

# It takes about 20 times as long as Auto-PGD, and a killed run repeats what is not journalled.
BATCHES_AT_ONCE = 2


def autoattack_evaluator(config: AutoAttackConfig) -> AttackEvaluator:
    """Attack every image until one attack breaks it; journal and records name which one did."""
    return AttackEvaluator(
        config,
        OneCall(config, autoattack, fast_gradients),
        columns=(*COLUMNS, "broken_by"),
        rows_of=_rows,
        batches_at_once=BATCHES_AT_ONCE,
    )


def _rows(indices: torch.Tensor, result: AutoAttackResult, steps: torch.Tensor) -> list[Row]:
    rows = attack_rows(indices, result, steps)
    return [(*row, name) for row, name in zip(rows, result.broken_by, strict=True)]
