"""How numbers, models and measurements are written, in every format alike."""

from __future__ import annotations

from robust_transfer.store.records import Lineage


def percent(value: float | None, *, signed: bool = False) -> str:
    """Write a fraction in percent with one decimal; signed ones from 100 % on without."""
    if value is None:
        return "–"
    if signed and abs(value) >= 1:
        return f"{100 * value:+.0f}"
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def metric_text(metric: str, value: float | None) -> str:
    """Write a metric's value: percent for accuracies, three decimals for the radius."""
    if value is None:
        return "–"
    return f"{value:.3f}" if metric == "acr" else percent(value)


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """Write an interval of a metric, empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{metric_text(metric, low)}, {metric_text(metric, high)}]"


def model_text(lineage: Lineage) -> str:
    """Name a model by its two methods."""
    return f"{lineage.pretrain or '?'}>{lineage.finetune or '-'}"
