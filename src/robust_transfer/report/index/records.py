"""Per-image values from records.csv: the only place that knows which column means what to a metric."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.cells import RA_RADIUS
from robust_transfer.report.index.collect import Run

Array = npt.NDArray[np.float64]


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """Read numeric columns of a records file.

    Raises
    ------
    EvaluationError : the file is missing, lacks a column, is empty, or holds what is no number
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            positions = [header.index(name) for name in names]
            rows = [[float(row[position]) for position in positions] for row in reader if _whole(row, header)]
    except FileNotFoundError as error:
        raise EvaluationError(f"{path} is missing", _repair(path)) from error
    except (ValueError, IndexError) as error:
        raise EvaluationError(
            f"{path} is not whole ({error}; expected {', '.join(names)})", _repair(path)
        ) from error
    if not rows:
        raise EvaluationError(f"{path} holds no image", _repair(path))
    values = np.asarray(rows, dtype=np.float64)
    return {name: values[:, column] for column, name in enumerate(names)}


def _whole(row: list[str], header: list[str]) -> bool:
    if len(row) != len(header):
        raise ValueError(f"image {row[0] if row else '?'} has {len(row)} cells, not {len(header)}")
    return True


def _repair(path: Path) -> str:
    return f"rt-report verify {path.parent.name.rsplit('-', 1)[-1]}"


def per_image(run: Run) -> tuple[Array, dict[str, Array]]:
    """Return (index, {metric: value of each image}) of a run; the metric is the mean over images.

    `acr` is left out in mode `decide`, whose radii only answer yes or no.
    """
    if run.evaluator != "certify":
        robust = "robust" if run.evaluator != "clean" else "correct"
        found = read_columns(run.path / "records.csv", tuple(dict.fromkeys(("index", "correct", robust))))
        values = {"sa": found["correct"]}
        return found["index"], values if run.evaluator == "clean" else {**values, "ra": found["robust"]}
    found = read_columns(run.path / "records.csv", ("index", "correct", "radius"))
    return found["index"], certified(found["correct"], found["radius"], run.settings)


def certified(correct: Array, radius: Array, settings: dict[str, Any]) -> dict[str, Array]:
    """Return the per-image values of a certification's metrics."""
    values = {"sa": correct, "ra": correct * (radius >= RA_RADIUS)}
    if settings.get("mode") != "decide":
        values["acr"] = correct * radius
    return values
