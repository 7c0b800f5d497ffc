"""A budget's limits on what a method or an evaluator may cost."""

from __future__ import annotations

import dataclasses
from typing import Any

from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.runtime import BudgetConfig


def _smaller(value: int | None, limit: int | None) -> int | None:
    return min((v for v in (value, limit) if v is not None), default=None)


def limited_method(method: Any, budget: BudgetConfig) -> Any:
    """Apply the budget's limits to a training method."""
    batch = _smaller(method.batch_size, budget.batch_size)
    assert batch is not None
    micro = _smaller(method.micro_batch, batch) if method.micro_batch is not None else None
    if micro is not None:
        batch -= batch % micro
    return dataclasses.replace(
        method, max_steps=_smaller(method.max_steps, budget.max_steps), batch_size=batch, micro_batch=micro
    )


def limited_evaluator(settings: EvaluatorConfig, budget: BudgetConfig) -> EvaluatorConfig:
    """Apply the budget's limits to an evaluator."""
    changes: dict[str, Any] = {"subset": _smaller(settings.subset, budget.subset)}
    for name, limit in settings.spec.limits.items():
        changes[name] = _smaller(getattr(settings, name), getattr(budget, limit))
    if budget.subset is not None:
        changes["batch_size"] = _smaller(settings.batch_size, max(budget.subset, 4))
    return dataclasses.replace(settings, **changes)
