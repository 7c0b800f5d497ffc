"""How numbers, models and measurements are written, in every format alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robust_transfer.report.analysis.estimates import Estimate
from robust_transfer.report.index.cells import METHODS, Cell
from robust_transfer.store.records import Lineage


def percent(value: float | None, *, signed: bool = False) -> str:
    """Write a fraction in percent with one decimal; signed ones from 100 % on without."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
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


def change_text(metric: str, change: Estimate) -> str:
    """Write a difference in points (or radii) with its interval."""
    scale, digits = (1.0, 3) if metric == "acr" else (100.0, 1)
    if change.low is None or change.high is None:
        return f"{scale * change.value:+.{digits}f}"
    value, low, high = (f"{scale * v:+.{digits}f}" for v in (change.value, change.low, change.high))
    return f"{value} [{low}, {high}]"


def gain_text(gain: Estimate) -> str:
    """Write a relative gain in percent with its interval."""
    value = percent(gain.value, signed=True)
    if gain.low is None or gain.high is None:
        return value
    return f"{value} [{percent(gain.low, signed=True)}, {percent(gain.high, signed=True)}]"


def range_text(counts: Sequence[int]) -> str:
    """Write the smallest and the largest of some counts, one number where they agree, 0 for none."""
    return "-".join(str(count) for count in dict.fromkeys((min(counts), max(counts)))) if counts else "0"


def units_text(pretrainings: int, seeds: int) -> str:
    """Count the independent units: 0 pre-trainings where there is none."""
    replicates = f"{seeds} seed{'s' if seeds != 1 else ''}"
    if not pretrainings:
        return replicates
    return f"{pretrainings} pre-training{'s' if pretrainings != 1 else ''} x {replicates}"


def model_text(lineage: Lineage) -> str:
    """Name a model by its two methods."""
    return f"{lineage.pretrain or '?'}>{lineage.finetune or '-'}"


def method_text(name: str) -> str:
    """Write a method as papers do: ST, AT, CR, SimCLR."""
    return METHODS.get(name, name)


def model_names(cells: Sequence[Cell]) -> list[str]:
    """Name models by their pre-training, and by whatever else differs between them."""
    several = {
        name: len({getattr(cell, name) for cell in cells}) > 1 for name in ("target", "finetune", "sigma")
    }
    names = []
    for cell in cells:
        parts = [f"{cell.target}: "] if several["target"] else []
        parts += [method_text(cell.pretrain) if cell.pretrain != "none" else "no pre-training"]
        parts += [f", fine-tuned with {method_text(cell.finetune)}"] if several["finetune"] else []
        parts += [f", σ = {cell.sigma:g}"] if several["sigma"] and cell.sigma is not None else []
        names.append("".join(parts))
    return names
