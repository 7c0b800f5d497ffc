"""A budget's caps on what a method or an evaluator may cost."""

from __future__ import annotations

import dataclasses
from typing import Any

from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.runtime import BudgetConfig


def _cap(value: int | None, cap: int | None) -> int | None:
    return min((v for v in (value, cap) if v is not None), default=None)


def capped_method(method: Any, budget: BudgetConfig) -> Any:
    """Apply the budget's caps to a training method."""
    batch = _cap(method.batch_size, budget.batch_size)
    assert batch is not None
    micro = _cap(method.micro_batch, batch) if method.micro_batch is not None else None
    if micro is not None:
        batch -= batch % micro
    return dataclasses.replace(
        method, max_steps=_cap(method.max_steps, budget.max_steps), batch_size=batch, micro_batch=micro
    )


def capped_evaluator(settings: EvaluatorConfig, budget: BudgetConfig) -> EvaluatorConfig:
    """Apply the budget's caps to an evaluator."""
    changes: dict[str, Any] = {"subset": _cap(settings.subset, budget.subset)}
    for name, limit in settings.spec.limits.items():
        changes[name] = _cap(getattr(settings, name), getattr(budget, limit))
    if budget.subset is not None:
        changes["batch_size"] = _cap(settings.batch_size, max(budget.subset, 4))
    return dataclasses.replace(settings, **changes)
