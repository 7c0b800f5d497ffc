"""From plain dictionaries to config dataclasses: types, ranges, required and unknown keys, suggestions.

Every field of a config dataclass is declared by `option(...)`. Where one of several classes may stand, a
field of theirs says which (`pretrain.name: cr`, `finetune.schedule.name: step`, `certify.mode: exact`), and
each has the values that it uses alone. Values live in conf/*.yaml, so nothing here has a second default.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.nearest import nearest

_hints = functools.cache(typing.get_type_hints)
Elsewhere = Callable[[str], str | None]


def option(
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] | None = None,
    identity: bool = True,
    by_content: bool = False,
    default_for_hash: Any = dataclasses.MISSING,
    default: Any = dataclasses.MISSING,
    repr: bool = True,
) -> Any:
    """Declare one field: what it is, its range, and whether it changes the result (identity).

    `by_content` is a field that names a file or a stage: what it names stands in the key, not the name.
    `low` and `high` are allowed values, `above` and `below` are not. `default_for_hash` belongs to a field
    that was added later: stages before it are read with this value, and it stands in no key, so that theirs
    stay.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": tuple(choices) if choices else None,
        "identity": identity and not by_content,
        "by_content": by_content,
        "default_for_hash": default_for_hash,
    }
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata, repr=repr)


def parse(
    cls: type,
    values: Any,
    path: str,
    *,
    stored: bool = False,
    of: str = "",
    beside: Iterable[str] = (),
    elsewhere: Elsewhere = lambda name: None,
) -> Any:
    """Build dataclass `cls` from a mapping, or raise ConfigError naming the dotted path.

    stored : the values are a finished stage's: fields added since have their `default_for_hash`, and what is
        refused of a new run is not
    of, beside, elsewhere : as in `refuse_unknown`
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the configuration'} must be a mapping of values (found {values!r})")
    refuse_unknown([cls], values, path, of=of, beside=beside, elsewhere=elsewhere)
    hints = _hints(cls)
    made = {}
    for field in dataclasses.fields(cls):
        name = field.name
        later = field.metadata.get("default_for_hash", dataclasses.MISSING)
        if name in values:
            made[name] = _value(hints[name], values[name], _join(path, name), field.metadata, stored)
        elif stored and later is not dataclasses.MISSING:
            made[name] = later
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{_join(path, name)} is not given ({field.metadata.get('help', '')})")
    config = cls(**made)
    check = getattr(config, "check", None)
    if check is not None and not stored:
        check(path)
    return config


def refuse_unknown(
    classes: Iterable[type],
    values: Mapping[str, Any],
    path: str,
    *,
    of: str = "",
    beside: Iterable[str] = (),
    elsewhere: Elsewhere = lambda name: None,
) -> None:
    """Raise ConfigError at the first name that is no field of any of some classes.

    of : the choice that has these fields, as it was typed
    beside : names that stand beside the fields, for suggestions
    elsewhere : says where else a field of that name, or one like it, stands
    """
    fields = {field.name: cls for cls in classes for field in dataclasses.fields(cls)}
    for name in map(str, values):
        if name not in fields:
            where = f" of {of}" if of else ""
            hint = _suggestion(set(fields.values()), name, path, [*fields, *beside], elsewhere)
            raise ConfigError(f"{_join(path, name)} is not a field{where}", hint)


def parse_choice(
    classes: Mapping[str, type], values: Any, path: str, *, tag: str = "name", stored: bool = False
) -> Any:
    """Build the dataclass that `values[tag]` picks from `classes`."""
    shown = path if tag == "name" else f"{path}.{tag}"
    if isinstance(values, str) and values in classes:
        raise ConfigError(
            f"{path}='{values}' is a name (expected its values)",
            f"in a file's defaults: - override /{path.replace('.', '/')}: {values}",
        )
    if isinstance(values, Mapping) and tag not in values:
        refuse_unknown(classes.values(), values, path, of=f"any {shown}")
    if not isinstance(values, Mapping) or tag not in values:
        raise ConfigError(f"{shown} is not chosen", f"{shown}=NAME, one of: {', '.join(classes)}")
    name = values[tag]
    if not isinstance(name, str) or name not in classes:
        raise ConfigError(f"{path}.{tag}='{name}' is unknown", did_you_mean(str(name), classes))
    for given in values:
        if _has(classes[name], str(given)):
            continue
        if owners := [other for other in classes if _has(classes[other], str(given))]:
            if moved := _moved(classes[name], str(given), path):
                raise ConfigError(f"{_join(path, str(given))} is not a field of {shown}={name}", moved)
            raise ConfigError(
                f"{_join(path, str(given))} is not used by {shown}={name}",
                f"{' or '.join(owners)} has it: {shown}={owners[0]}",
            )
    return parse(classes[name], values, path, stored=stored, of=f"{shown}={name}")


def variants(hint: Any) -> dict[str, type]:
    """Return the classes of a field that may hold one of several, by the word that chooses each."""
    classes = [h for h in typing.get_args(hint) if dataclasses.is_dataclass(h)]
    chosen = {}
    for cls in classes if len(classes) > 1 else ():
        for field in dataclasses.fields(cls):
            if field.name == "name" and field.metadata.get("choices"):
                chosen[field.metadata["choices"][0]] = typing.cast(type, cls)
    return chosen


def identity(config: Any) -> dict[str, Any]:
    """Return the fields that change the result, as plain JSON-able values: what a key holds."""
    inert = config.inert() if hasattr(config, "inert") else ()
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        is_default = value == field.metadata.get("default_for_hash", dataclasses.MISSING)
        if field.metadata.get("identity", True) and field.name not in inert and not is_default:
            values[field.name] = identity(value) if dataclasses.is_dataclass(value) else value
    return values


def settings(config: Any) -> dict[str, Any]:
    """Return every field that may change a result, live or not: what a summary shows."""
    fields = [field for field in dataclasses.fields(config) if field.metadata.get("identity", True)]
    return {field.name: getattr(config, field.name) for field in fields}


def _has(cls: type, name: str) -> bool:
    return any(field.name == name for field in dataclasses.fields(cls))


def _moved(cls: type, name: str, path: str) -> str | None:
    """Say where a field of that name stands one level below, or None."""
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        inner = _join(path, field.name)
        for word, owner in variants(hints[field.name]).items():
            if _has(owner, name):
                return f"did you mean '{inner}.{name}' (of {inner}={word})?"
        nested = [h for h in typing.get_args(hints[field.name]) or [hints[field.name]]]
        for owner in nested:
            if dataclasses.is_dataclass(owner) and path and _has(typing.cast(type, owner), name):
                return f"did you mean '{inner}.{name}'?"
    return None


def _suggestion(classes: Iterable[type], name: str, path: str, known: list[str], elsewhere: Elsewhere) -> str:
    """Say which field is meant: one of these, one below them, or one that stands elsewhere."""
    moved = filter(None, (_moved(cls, name, path) for cls in classes))
    if found := next(moved, None) or elsewhere(name):
        return found
    if nearest(name, known):
        return did_you_mean(name, known)
    inner = {dotted.rpartition(".")[2]: dotted for cls in classes for dotted in below(cls, path)}
    if near := nearest(name, inner):
        return did_you_mean(inner[near[0]], [inner[near[0]]])
    return did_you_mean(name, known)


def below(cls: type, path: str) -> Iterator[str]:
    """Yield the dotted names of the fields of a dataclass and of those inside it."""
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        inner = _join(path, field.name)
        yield inner
        for owner in typing.get_args(hints[field.name]) or [hints[field.name]]:
            if dataclasses.is_dataclass(owner):
                yield from below(typing.cast(type, owner), inner)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(hint: Any, value: Any, path: str, metadata: Mapping[str, Any], stored: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value  # a group that was parsed by its name before
    if typing.get_origin(hint) is dict:
        return value  # nodes that were parsed by their names before
    if classes := variants(hint):
        return parse_choice(classes, value, path, stored=stored)
    nested = [h for h in typing.get_args(hint) or [hint] if dataclasses.is_dataclass(h)]
    if nested and value is not None:
        return parse(typing.cast(type, nested[0]), value, path, stored=stored)
    converted = _convert(hint, value)
    if converted is _NO:
        raise ConfigError(f"{path}={value!r} (expected {type_name(hint)})", *_as_list(hint, value, path))
    for item in converted if isinstance(converted, list) else [converted]:
        _check_range(item, path, metadata)
    return converted


def _as_list(hint: Any, value: Any, path: str) -> list[str]:
    """Show one value that stands where a list is expected as a list."""
    lists = [h for h in typing.get_args(hint) or [hint] if typing.get_origin(h) is list]
    lists = [hint] if typing.get_origin(hint) is list else lists
    return [f"{path}=[{value}]"] if lists and isinstance(value, str | int | float) else []


_NO = object()
LARGEST_INTEGER = 2**63  # what torch, and a reader of our JSON, can hold


def _convert(hint: Any, value: Any) -> Any:
    """Convert a YAML value to `hint`, or return _NO; only whole numbers and fractions become floats."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return next((v for v in (_convert(h, value) for h in typing.get_args(hint)) if v is not _NO), _NO)
    if origin is list:
        if not isinstance(value, list):
            return _NO
        items = [_convert(typing.get_args(hint)[0], item) for item in value]
        return _NO if any(item is _NO for item in items) else items
    if origin is dict:
        return value if isinstance(value, dict) else _NO
    if hint is type(None):
        return None if value is None else _NO
    if isinstance(value, bool) and hint is not bool:
        return _NO
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        return _NO
    if hint is float and isinstance(value, int):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_INTEGER:
        return int(value)  # 1e5
    if hint is float and isinstance(value, str):
        return _fraction(value)
    return value if isinstance(value, hint) else _NO


def _fraction(text: str) -> Any:
    """Read "8/255", as radii are written; return _NO for other text."""
    over, slash, under = text.partition("/")
    try:
        return float(over) / float(under) if slash else _NO
    except (ValueError, ZeroDivisionError):
        return _NO


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
        raise ConfigError(f"{path}={value} (expected {range_text(low, high, above, below)})")


def range_text(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    """Say a range in words."""
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


def type_name(hint: Any) -> str:
    """Say a type in words."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(type_name(h) for h in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        return f"a list of {type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return "a mapping of values"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(hint, "null" if hint is type(None) else str(hint))
