"""Accuracy under AutoAttack."""

from __future__ import annotations

import functools

import torch

from robust_transfer.attacks import autoattack
from robust_transfer.attacks.autoattack import AutoAttackResult
from robust_transfer.config.evaluators import AutoAttackConfig
from robust_transfer.core.numerics import arithmetic
from robust_transfer.evaluation.attack import (
    COLUMNS,
    AttackEvaluator,
    Outcomes,
    attack_rows,
    options_of,
    tried,
)
from robust_transfer.evaluation.protocol import EvalContext
from robust_transfer.models.fast import fast_inference
from robust_transfer.store.journal import Row

# It takes about 20 times as long as Auto-PGD, and a killed run repeats what is not journalled.
BATCHES_AT_ONCE = 2


def autoattack_evaluator(config: AutoAttackConfig) -> AttackEvaluator:
    """Attack every image until one attack breaks it; journal and records name which one did."""
    return AttackEvaluator(
        config,
        functools.partial(_run, config),
        columns=(*COLUMNS, "broken_by"),
        rows_of=_rows,
        batches_at_once=BATCHES_AT_ONCE,
    )


def _run(
    config: AutoAttackConfig,
    context: EvalContext,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    outcomes: Outcomes,
) -> None:
    with arithmetic("fp32"):
        fast = fast_inference(context.model, arithmetic="fp32", compile=context.compile)
        result = autoattack(
            context.model,
            pixels,
            labels,
            index=outcomes.indices,
            gradient_model=fast,
            **(options_of(config, compiled=context.compile) | tried(context, config.guards)),
        )
    outcomes.add(range(len(pixels)), result)


def _rows(indices: torch.Tensor, result: AutoAttackResult, steps: torch.Tensor) -> list[Row]:
    rows = attack_rows(indices, result, steps)
    return [(*row, name) for row, name in zip(rows, result.broken_by, strict=True)]
