"""Records and summary of a finished evaluation: every number follows from the journals."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robust_transfer.config.evaluator import METRICS, EvaluatorSpec, Settings
from robust_transfer.core import files
from robust_transfer.core.statistics import mean_interval, mean_per_class, proportion_interval
from robust_transfer.evaluation.warnings import all_warnings
from robust_transfer.store.journal import format_cell

DISTANCES = ("acr", "area")  # metrics in the units of pixels
NEAR_CHANCE_FROM = 200  # fewer images say nothing of an accuracy near chance


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write records.csv: one row per image in order of `index`, numbers in full precision."""
    columns = list(records[0])
    lines = [",".join(columns), *(",".join(format_cell(r[c]) for c in columns) for r in records)]
    files.write_text(path, "\n".join(lines) + "\n")


def metrics_of(
    records: Sequence[dict[str, Any]], spec: EvaluatorSpec, settings: Settings
) -> tuple[dict[str, float | None], dict[str, dict[str, Any]]]:
    """Return the metrics (means over images, and over classes for accuracies) and their 95 % intervals."""
    labels = [r["label"] for r in records]
    columns = {name: np.array([float(r[name]) for r in records]) for name in spec.metric_columns}
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    intervals: dict[str, dict[str, Any]] = {}
    for name, values in spec.values(columns, settings).items():
        per_image = values.tolist()
        metrics[name] = math.fsum(per_image) / len(per_image)
        low, high, method = interval_of(name, per_image)
        if name not in DISTANCES:
            metrics[f"{name}_per_class"] = mean_per_class(labels, per_image)
        intervals[name] = {"low": low, "high": high, "method": method}
    return metrics, intervals


def interval_of(metric: str, per_image: Sequence[float]) -> tuple[float, float, str]:
    """Return the 95 % interval of a mean: exact for flags, else resampled."""
    if metric not in DISTANCES and all(value in (0, 1) for value in per_image):
        return proportion_interval(round(sum(per_image)), len(per_image))
    return mean_interval(per_image)


def counts_of(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count correct, incorrect and abstained predictions apart, and what each attack of a list broke."""
    key = "prediction" if "prediction" in records[0] else "clean_prediction"
    abstained = sum(r[key] == -1 and r.get("guess", -1) == r["label"] for r in records)
    correct = sum(bool(r["correct"]) for r in records)
    broken_by = collections.Counter(r["broken_by"] for r in records if r.get("broken_by"))
    broken = {f"broken by {name}": broken_by[name] for name in sorted(broken_by)}
    return {"right": correct, "abstained": abstained, "wrong": len(records) - correct - abstained, **broken}


def flags_of(
    directory: Path,
    image_flags: Sequence[str],
    records: Sequence[dict[str, Any]],
    metrics: dict[str, float | None],
    labels: Iterable[int],
) -> list[str]:
    """Return the warnings about the numbers: those raised while measuring, and what the numbers show.

    image_flags : an evaluator's flags that count images
    """
    flags, unreadable = all_warnings(directory)
    flags = [*flags, *image_flags]
    flags += _near_chance(metrics["sa"], len(records), len(set(labels)))
    if unreadable:
        flags.append(f"unreadable: {len(unreadable)} images were left out: {unreadable[:10]}")
    return flags


def _near_chance(accuracy: float | None, num_images: int, num_classes: int) -> list[str]:
    """Flag an accuracy that wrong labels, a wrong head or a wrong normalisation would give."""
    threshold = 2 / num_classes
    if accuracy is None or num_images < NEAR_CHANCE_FROM or num_classes < 4 or accuracy >= threshold:
        return []
    hint = "are label order and normalisation correct?"
    return [f"near chance: accuracy {accuracy:.3f} is below 2/K = {threshold:.3f}; {hint}"]
