"""Per-image values from records.csv."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.collect import Run

if TYPE_CHECKING:
    import pandas

Array = npt.NDArray[np.float64]


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """Read numeric columns of a records file.

    Raises
    ------
    EvaluationError : the file is not whole, lacks a column, or holds what is not a number
    """
    table = read_table(path)
    lacking = [name for name in names if name not in table]
    if lacking:
        raise EvaluationError(f"{path} has no column {', '.join(lacking)}", _repair(path))
    try:
        return {name: table[name].to_numpy(dtype=np.float64) for name in names}
    except ValueError as error:
        raise EvaluationError(f"{path} is not whole ({error})", _repair(path)) from error


def read_table(path: Path) -> pandas.DataFrame:
    """Read a records file.

    Raises
    ------
    EvaluationError : the file is missing, is empty, or has a row with a cell too few or too many
    """
    import pandas

    try:
        table = pandas.read_csv(path)
    except FileNotFoundError as error:
        raise EvaluationError(f"{path} is missing", _repair(path)) from error
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} is not whole ({error})", _repair(path)) from error
    if table.empty:
        raise EvaluationError(f"{path} holds no image", _repair(path))
    # A row with a cell too few is filled up, and where the first has one too many the header moves.
    if table.isna().any(axis=None) or not isinstance(table.index, pandas.RangeIndex):
        raise EvaluationError(f"{path} is not whole (a row has other cells than the header)", _repair(path))
    return table


def _repair(path: Path) -> str:
    return f"rt-report verify {path.parent.name.rsplit('-', 1)[-1]}"


def per_image(run: Run) -> tuple[Array, dict[str, Array]]:
    """Return (images, {metric: value of each image}) of a run; the metric is the mean over images.

    Images are (2, N): their positions in the test set, and their labels.

    A metric that the run's settings do not measure is left out, and so is accuracy at further radii, which
    stands in the run's summary.
    """
    path = run.path / "records.csv"
    # A page of tables asks for the same records several times; a file that changes is read anew.
    changed = path.stat().st_mtime_ns if path.exists() else 0
    columns = _columns(path, ("index", "label", *run.spec.metric_columns), changed)
    values = run.spec.values(columns, run.settings)
    images = np.stack([columns["index"], columns["label"]])
    return images, {metric: values[metric] for metric in run.spec.measured(run.settings)}


def check_images(first: Run, other: Run) -> None:
    """Refuse two runs that are to be one, or compared, whose images have other positions or labels."""
    if not np.array_equal(per_image(first)[0], per_image(other)[0]):
        raise EvaluationError(
            f"{other.path} has other images than {first.path}", f"rt-report verify {other.key}"
        )


@lru_cache(maxsize=512)
def _columns(path: Path, names: tuple[str, ...], changed: int) -> dict[str, Array]:
    return read_columns(path, names)
