"""From plain dictionaries to config dataclasses: types, ranges, required and unknown keys, suggestions.

Every field of a config dataclass is declared by `option(...)`; a class level `name` picks the class of
a group (`pretrain.name: cr`). Values live in conf/*.yaml, so nothing here has a second default.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from robust_transfer.core.errors import ConfigError, did_you_mean


def option(
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] | None = None,
    identity: bool = True,
    unnamed: Any = None,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declare one field: what it is, its range, and whether it changes the result (identity).

    `low` and `high` are allowed values, `above` and `below` are not. `unnamed` is the value that stands in no
    key, so that a field added later leaves the keys of the stages before it.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": tuple(choices) if choices else None,
        "identity": identity,
        "unnamed": unnamed,
    }
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse(cls: type, values: Any, path: str) -> Any:
    """Build dataclass `cls` from a mapping, or raise ConfigError naming the dotted path."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the configuration'} must be a mapping of values (found {values!r})")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            where = f" of {cls.__name__.removesuffix('Config')}" if path else ""
            raise ConfigError(
                f"{_join(path, str(name))} is not a field{where}", did_you_mean(str(name), fields)
            )
    made = {}
    for name, field in fields.items():
        if name in values:
            made[name] = _value(hints[name], values[name], _join(path, name), field.metadata)
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{_join(path, name)} is not given ({field.metadata.get('help', '')})")
    config = cls(**made)
    check = getattr(config, "check", None)
    if check is not None:
        check(path)
    return config


def parse_choice(classes: Mapping[str, type], values: Any, path: str) -> Any:
    """Build the dataclass that `values['name']` picks from `classes`."""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ConfigError(f"{path} is not chosen", f"{path}=NAME, one of: {', '.join(classes)}")
    name = values["name"]
    if not isinstance(name, str) or name not in classes:
        raise ConfigError(f"{path}.name='{name}' is unknown", did_you_mean(str(name), classes))
    return parse(classes[name], values, path)


def identity(config: Any) -> dict[str, Any]:
    """Return the fields that change the result, as plain JSON-able values."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        unnamed = field.metadata.get("unnamed")
        if field.metadata.get("identity", True) and (unnamed is None or value != unnamed):
            found[field.name] = identity(value) if dataclasses.is_dataclass(value) else value
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(hint: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value  # a group that was parsed by its name before
    nested = [h for h in typing.get_args(hint) or [hint] if dataclasses.is_dataclass(h)]
    if nested and value is not None:
        return parse(typing.cast(type, nested[0]), value, path)
    converted = _convert(hint, value)
    if converted is _NO:
        raise ConfigError(f"{path}={value!r} (expected {_type_name(hint)})")
    for item in converted if isinstance(converted, list) else [converted]:
        _check_range(item, path, metadata)
    return converted


_NO = object()
LARGEST_INTEGER = 2**63  # what torch, and a reader of our JSON, can hold


def _convert(hint: Any, value: Any) -> Any:
    """Convert a YAML value to `hint`, or return _NO; only int -> float changes the type."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return next((v for v in (_convert(h, value) for h in typing.get_args(hint)) if v is not _NO), _NO)
    if origin is list:
        if not isinstance(value, list):
            return _NO
        items = [_convert(typing.get_args(hint)[0], item) for item in value]
        return _NO if any(item is _NO for item in items) else items
    if hint is type(None):
        return None if value is None else _NO
    if isinstance(value, bool) and hint is not bool:
        return _NO
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        return _NO
    if hint is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, hint) else _NO


def _check_range(value: Any, path: str, metadata: Mapping[str, Any]) -> None:
    choices = metadata.get("choices")
    if choices and value is not None and value not in choices and isinstance(value, str):
        raise ConfigError(f"{path}='{value}' is unknown", did_you_mean(value, [str(c) for c in choices]))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low, high, above, below = (metadata.get(k) for k in ("low", "high", "above", "below"))
    wrong = (
        not math.isfinite(value)
        or (low is not None and value < low)
        or (high is not None and value > high)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    )
    if wrong:
        raise ConfigError(f"{path}={value} (expected {_range_text(low, high, above, below)})")


def _range_text(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    parts = []
    if low is not None:
        parts.append(f"at least {low:g}")
    if above is not None:
        parts.append(f"more than {above:g}")
    if high is not None:
        parts.append(f"at most {high:g}")
    if below is not None:
        parts.append(f"less than {below:g}")
    return " and ".join(parts) or "a finite number"


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_type_name(h) for h in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        return f"a list of {_type_name(typing.get_args(hint)[0])}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(hint, "null" if hint is type(None) else str(hint))
