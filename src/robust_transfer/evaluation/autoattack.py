"""Accuracy under AutoAttack's standard version."""

from __future__ import annotations

import functools
from typing import Any

import torch

from robust_transfer.attacks import autoattack
from robust_transfer.attacks.autoattack import AutoAttackResult
from robust_transfer.config.evaluation import AutoAttackConfig
from robust_transfer.core.numerics import arithmetic
from robust_transfer.evaluation.attack import AttackEvaluator, Outcomes, attack_rows
from robust_transfer.evaluation.protocol import Bench, evaluators
from robust_transfer.models.fast import fast_inference
from robust_transfer.store.journal import Row


class AutoAttackEvaluator(AttackEvaluator):
    """Attack every image until one of four attacks breaks it; the journal names which one did."""

    journal_columns = (*AttackEvaluator.journal_columns, "broken_by")
    # It takes about 20 times as long as Auto-PGD, and a killed run repeats what is not journalled.
    batches_at_once = 2

    def __init__(self, config: AutoAttackConfig) -> None:
        self.config: Any = config
        self.rows_of = _rows
        self._autoattack = functools.partial(
            autoattack,
            norm=config.norm,
            eps=config.eps,
            num_steps=config.num_steps,
            num_queries=config.num_queries,
            batch_size=config.batch_size,
            seed=config.seed,
            guards=config.guards,
        )

    def _run(self, bench: Bench, pixels: torch.Tensor, labels: torch.Tensor, outcomes: Outcomes) -> None:
        with arithmetic("fp32"):
            fast = fast_inference(bench.model, arithmetic="fp32", compile=bench.compile)
            result = self._autoattack(
                bench.model, pixels, labels, index=outcomes.indices, gradient_model=fast
            )
        outcomes.add(range(len(pixels)), result)


def _rows(indices: torch.Tensor, result: AutoAttackResult, steps: torch.Tensor) -> list[Row]:
    rows = attack_rows(indices, result, steps)
    return [(*row, name) for row, name in zip(rows, result.broken_by, strict=True)]


evaluators.register(AutoAttackConfig)(AutoAttackEvaluator)
