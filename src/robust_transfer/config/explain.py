"""What a configuration value means: its type, range, choices, default, and where the default comes from.

Meanings and ranges stand in the dataclasses; defaults, with a comment on their origin, in conf/*.yaml.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.evaluators import evaluators
from robust_transfer.config.methods import FINETUNE, PRETRAIN
from robust_transfer.config.plugins import load_methods
from robust_transfer.config.run import EvaluateConfig, TrainConfig
from robust_transfer.config.schema import range_text, type_name, variants
from robust_transfer.core.errors import ConfigError, did_you_mean

TEXT_WIDTH = 100


@dataclass(frozen=True)
class Value:
    """One value that can be set.

    path : its dotted name on the command line
    of : the choices under which it exists, such as "finetune=cr"; empty: under all
    default : as it stands in the shipped configs, with the comment behind it; empty: no shipped value
    in_key : whether another value names another stage
    """

    path: str
    of: tuple[str, ...]
    meaning: str
    type: str
    choices: tuple[str, ...]
    default: str
    origin: str
    in_key: bool


def all_values(conf: Path) -> list[Value]:
    """Return every value of rt-train and rt-eval, sorted by its path.

    Parameters
    ----------
    conf : the folder of the shipped configs
    """
    load_methods()
    merged: dict[tuple[str, str, str], Value] = {}
    for value in _walk_run(_Defaults(conf)):
        key = (value.path, value.meaning, value.default)
        earlier = merged.get(key)
        merged[key] = dataclasses.replace(earlier, of=_merged(earlier.of, value.of)) if earlier else value
    return sorted(merged.values(), key=lambda value: (value.path, value.of))


def explain(name: str, conf: Path) -> str:
    """Explain one value, or list those below a group, as text.

    Raises
    ------
    ConfigError : there is no such value, with the nearest one
    """
    values = all_values(conf)
    exact = [value for value in values if value.path == name]
    below = [value for value in values if value.path.startswith(f"{name}.")]
    if exact:
        return "\n\n".join(_paragraph(value) for value in exact)
    if below:
        return "\n".join(_line(value) for value in below)
    paths = {value.path for value in values}
    same_end = sorted(path for path in paths if path.rsplit(".", 1)[-1] == name)
    hint = f"perhaps {', '.join(same_end[:4])}" if same_end else did_you_mean(name, paths)
    raise ConfigError(f"'{name}' is not a value", hint)


def _paragraph(value: Value) -> str:
    lines = [f"{value.path}{_of(value)}", f"  {value.meaning}", f"  {_limits(value)}"]
    if value.default:
        lines.append(f"  default {value.default}{_behind(value)}")
    lines.append("  another value is another stage" if value.in_key else "  changes no result, and no key")
    return "\n".join(lines)


def _line(value: Value) -> str:
    default = f" = {value.default}" if value.default else ""
    return f"{value.path}{default}{_of(value)}\n    {value.meaning}; {_limits(value)}"


def _of(value: Value) -> str:
    return f"  ({', '.join(value.of)})" if value.of else ""


def _limits(value: Value) -> str:
    return f"one of {', '.join(value.choices)}" if value.choices else value.type


def _behind(value: Value) -> str:
    return f" ({value.origin})" if value.origin else ""


def _merged(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other))) if one and other else ()


# ---------------------------------------------------------------- walking the dataclasses


def _walk_run(defaults: _Defaults) -> Iterator[Value]:
    special = ("pretrain", "finetune", "evaluator_settings", "evaluators")
    yield from _walk(TrainConfig, "", (), defaults, without=special)
    yield from _walk(EvaluateConfig, "", (), defaults, without=special)
    for group, classes in (("pretrain", PRETRAIN), ("finetune", FINETUNE)):
        for word, method in classes.items():
            yield from _walk(method, group, (f"{group}={word}",), defaults, without=("name",))
    for name, settings in evaluators().items():
        yield from _walk(settings, name, (), defaults, without=("mode",))
        yield from _walk_modes(settings, name, defaults)


def _walk_modes(settings: type[EvaluatorConfig], name: str, defaults: _Defaults) -> Iterator[Value]:
    """Yield the values of an evaluator's modes, each a class derived from the evaluator's."""
    modes: dict[str, type] = {}
    for derived in settings.__subclasses__():
        for field in dataclasses.fields(derived):
            if field.name == "mode":
                modes[field.metadata["choices"][0]] = derived
    shared = [field.name for field in dataclasses.fields(settings)]
    for word, mode in modes.items():
        for field in dataclasses.fields(mode):
            if field.name == "mode":
                yield _value(f"{name}.mode", (), field, "", tuple(modes), defaults)
        yield from _walk(mode, name, (f"{name}.mode={word}",), defaults, without=(*shared, "mode"))


def _walk(
    cls: type, path: str, of: tuple[str, ...], defaults: _Defaults, without: Iterable[str] = ()
) -> Iterator[Value]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in without:
            continue
        name = f"{path}.{field.name}" if path else field.name
        hint, metadata = hints[field.name], field.metadata
        nested = [h for h in typing.get_args(hint) or [hint] if dataclasses.is_dataclass(h)]
        if classes := variants(hint):
            yield _value(name, of, field, "", tuple(classes), defaults)
            for word, owner in classes.items():
                yield from _walk(owner, name, (*of, f"{name}={word}"), defaults, without=("name",))
        elif len(nested) == 1:
            yield from _walk(typing.cast(type, nested[0]), name, of, defaults)
        elif not nested:
            limits = range_text(*(metadata.get(k) for k in ("low", "high", "above", "below")))
            text = type_name(hint) + ("" if limits == "a finite number" else f", {limits}")
            yield _value(name, of, field, text, tuple(map(str, metadata.get("choices") or ())), defaults)


def _value(
    path: str,
    of: tuple[str, ...],
    field: dataclasses.Field[Any],
    kind: str,
    choices: tuple[str, ...],
    defaults: _Defaults,
) -> Value:
    default, origin = defaults.of(path, of)
    in_key = bool(field.metadata.get("identity", True) or field.metadata.get("by_content"))
    return Value(path, of, field.metadata.get("help", ""), kind, choices, default, origin, in_key)


# ---------------------------------------------------------------- defaults and their origin


class _Defaults:
    """The values of the shipped configs as they stand there, with the comments behind them."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf
        self._files: dict[Path, dict[str, tuple[str, str]]] = {}

    def of(self, path: str, choices: tuple[str, ...]) -> tuple[str, str]:
        """Return the text of a default and the comment behind it; two empty texts where there is none."""
        for file, inner in self._places(path, choices):
            if inner in (found := self._read(file)):
                return found[inner]
        return "", ""

    def _places(self, path: str, choices: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
        for choice in reversed(choices):
            group, _, word = choice.partition("=")
            folder = self.conf / group.replace(".", "/")
            if path.startswith(f"{group}."):
                yield folder / f"{word}.yaml", path.removeprefix(f"{group}.")
            if group.endswith(".mode"):
                owner = group.removesuffix(".mode")
                yield folder / f"{word}.yaml", path.removeprefix(f"{owner}.")
        head, _, rest = path.partition(".")
        yield self.conf / head / "_base.yaml", rest
        for name in ("_evaluators", "_machine", "train", "evaluate"):
            yield self.conf / f"{name}.yaml", path

    def _read(self, file: Path) -> dict[str, tuple[str, str]]:
        if file not in self._files:
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            self._files[file] = dict(_values_with_comments(text))
        return self._files[file]


LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):(?: +(?P<value>[^#]*?))?(?: *# *(?P<comment>.*))?$")


def _values_with_comments(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the dotted name of every scalar of a YAML text with its text and the comment behind it."""
    stack: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (match := LINE.match(line)):
            continue
        indent = len(match["indent"])
        stack = [(depth, key) for depth, key in stack if depth < indent]
        stack.append((indent, match["key"]))
        value = (match["value"] or "").strip()
        if value and not value.startswith("${"):
            yield ".".join(key for _, key in stack), (value, match["comment"] or "")
