"""Per-image values from records.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robust_transfer.core.errors import EvaluationError
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

    A metric that the run's settings do not measure is left out.
    """
    columns = read_columns(run.path / "records.csv", ("index", *run.spec.metric_columns))
    return columns["index"], run.spec.values(columns, run.settings)
