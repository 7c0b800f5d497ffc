"""Numbers as users write them: 1e5 for 100,000, a NumPy scalar, a tensor of one element. Torch-free."""

from __future__ import annotations

import math
import operator
from typing import Any

from robust_transfer.core.errors import ConfigError

LONGEST = 60  # characters of a wrong value that an error shows


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
    number = _index(_single(value))
    if number is None or (low is not None and number < low):
        raise ConfigError(f"{name}={written(value)} (expected {expected})")
    return number


def real(name: str, value: Any) -> float:
    """Return a finite number as a float, or refuse `value`.

    Raises
    ------
    ConfigError : text, None, several numbers, NaN or infinity
    """
    number = _float(_single(value))
    if not math.isfinite(number):
        raise ConfigError(f"{name}={written(value)} (expected a finite number)")
    return number


def written(value: Any) -> str:
    """Write a value in one line of an error: an array prints many."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _single(value: Any) -> Any:
    """Return the number that a scalar, or a tensor or array of one element, holds; all else as it is."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return value


def _index(value: Any) -> int | None:
    if isinstance(value, bool):  # an index to Python; nobody counts with one
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        number = _float(value)
    return int(number) if number.is_integer() else None


def _float(value: Any) -> float:
    if isinstance(value, str | bytes | bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan
