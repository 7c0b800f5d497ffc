"""Numbers as users write them: 1e5 for 100,000, a NumPy scalar, a tensor of one element. Torch-free."""

from __future__ import annotations

import math
import operator
from typing import Any

from robust_transfer.core.errors import ConfigError


def whole(name: str, value: Any, *, low: int | None = None) -> int:
    """Return a whole number as an int, or refuse `value`; a float counts if it is integral.

    Parameters
    ----------
    name : of the argument, for the error
    low : least allowed value

    Raises
    ------
    ConfigError : a boolean, a fraction, text, None, several numbers, or a number below `low`
    """
    expected = "a whole number" if low is None else f"a whole number, at least {low}"
    number = _index(value)
    if number is None or (low is not None and number < low):
        raise ConfigError(f"{name}={value!r} (expected {expected})")
    return number


def real(name: str, value: Any) -> float:
    """Return a finite number as a float, or refuse `value`.

    Raises
    ------
    ConfigError : text, None, several numbers, NaN or infinity
    """
    number = math.nan
    if not isinstance(value, str | bytes | bool):
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):
            number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{name}={value!r} (expected a finite number)")
    return number


def _index(value: Any) -> int | None:
    # A boolean is an index to Python, NumPy and torch alike; nobody counts with one.
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    try:
        number = float(value) if not isinstance(value, str | bytes) else math.nan
    except (TypeError, ValueError, RuntimeError):
        return None
    return int(number) if number.is_integer() else None
