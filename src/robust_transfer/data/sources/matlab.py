"""Read the MATLAB files that some sets keep their splits in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robust_transfer.core.errors import DataError


def read_mat(path: Path, variable: str) -> Any:
    """Return one variable of a .mat file as an array of one dimension."""
    import numpy as np
    from scipy.io import loadmat  # half a second to import, needed for two sets

    if not path.is_file():
        raise DataError(f"{path} is missing")
    try:
        return np.atleast_1d(loadmat(str(path), squeeze_me=True)[variable])
    except Exception as error:
        raise DataError(f"{path} cannot be read as the .mat file with '{variable}' ({error})") from error
