"""Find a file's format by its keys, or take the declared one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import CheckpointError, ConfigError, did_you_mean
from robust_transfer.models.importers.formats import Format, View
from robust_transfer.models.importers.robust import (
    ROBUST_SSL,
    ROBUST_SSL_CLEAN,
    ROBUSTBENCH,
    ROBUSTNESS,
    SMOOTHING,
)
from robust_transfer.models.importers.selfsupervised import (
    LIGHTLY,
    MMPRETRAIN,
    MOCO,
    SIMCLR_V2,
    SOLO_LEARN,
    VISSL,
)
from robust_transfer.models.importers.structure import plain_weights, roots, state_dicts
from robust_transfer.models.importers.supervised import NUMBERED, SIMCLR, TIMM, TORCHVISION, TRANSFORMERS
from robust_transfer.models.safe_load import LoadedFile, state_dict_of

OURS = "robust-transfer"

# With keys of their own.
_SPECIFIC = (
    *(ROBUSTNESS, ROBUSTBENCH, SMOOTHING, SOLO_LEARN, LIGHTLY, VISSL, MOCO, SIMCLR_V2),
    *(ROBUST_SSL, ROBUST_SSL_CLEAN, TRANSFORMERS, NUMBERED, MMPRETRAIN),
)
# With torchvision's keys and nothing else: the first that matches is taken, with a warning.
_PLAIN = (TIMM, TORCHVISION, SIMCLR)

FORMATS = {each.name: each for each in (*_SPECIFIC, *_PLAIN)}
FORMAT_NAMES = ("auto", OURS, *FORMATS)


def choose_format(
    loaded: LoadedFile, name: str, path: str | Path, *, part: str | None = None, prefix: str | None = None
) -> tuple[Format, View, list[str]]:
    """Return the format, the weights as they lie in the file, and warnings where others fit too.

    Parameters
    ----------
    name : one of FORMAT_NAMES but "robust-transfer"; "auto" goes by the keys
    part : dotted path of the state_dict in the file; None: where the format keeps it
    prefix : what precedes the network's names; None: the format's, or the only one in the file

    Raises
    ------
    ConfigError : no such format
    CheckpointError : no format fits, or several with keys of their own do
    """
    if name not in FORMAT_NAMES:
        raise ConfigError(f"unknown checkpoint format '{name}'", did_you_mean(name, FORMAT_NAMES))
    if part is not None:
        loaded = _narrowed(loaded, part, path)
    if prefix is not None:
        with_prefix = dataclasses.replace(FORMATS.get(name, TORCHVISION), root=re.escape(prefix))
        view = _view(loaded, with_prefix)
        if view is None:
            raise _unknown(loaded, path)
        return with_prefix, view, []
    if name != "auto":
        view = _view(loaded, FORMATS[name])
        if view is None:
            raise CheckpointError(f"{path} has no weights where {name} keeps them ({_contents(loaded)})")
        return FORMATS[name], view, []
    specific = _matching(loaded, _SPECIFIC)
    if len(specific) > 1:
        names = [source.name for source, _ in specific]
        raise CheckpointError(
            f"{path} is ambiguous: it could be {' or '.join(names)}",
            f"say which: pretrain.format={names[0]} (rt-eval: format=...)",
        )
    if specific:
        return (*specific[0], [])
    plain = _matching(loaded, _PLAIN)
    if not plain:
        return (*_by_structure(loaded, path), [])
    source, view = plain[0]
    return source, view, _plain_warning(source)


def _by_structure(loaded: LoadedFile, path: str | Path) -> tuple[Format, View]:
    """Take the only network in the file, whatever precedes its names."""
    view = _view(loaded, TORCHVISION)
    if view is None:
        parts = [name for name, tensors in state_dicts(loaded.root) if roots(plain_weights(tensors))]
        if len(parts) > 1:
            raise CheckpointError(
                f"{path} holds several networks: {', '.join(parts)}",
                f"say which: pretrain.part={parts[0]} (rt-eval: part={parts[0]})",
            )
        view = _view(_narrowed(loaded, parts[0], path), TORCHVISION) if parts else None
    prefixes = roots(view.tensors) if view else []
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path} holds several networks, below {', '.join(prefixes)}",
            f"say which: pretrain.prefix={prefixes[0]} (rt-eval: prefix={prefixes[0]})",
        )
    if view is None or not prefixes:
        raise _unknown(loaded, path)
    return dataclasses.replace(TORCHVISION, root=re.escape(prefixes[0])), view


def _narrowed(loaded: LoadedFile, part: str, path: str | Path) -> LoadedFile:
    """Return the file as if it held one of its parts alone."""
    inner = _walk(loaded.root, part)
    if state_dict_of(inner) is None:
        parts = [name for name, _ in state_dicts(loaded.root) if name]
        raise CheckpointError(
            f"{path} has no state_dict '{part}' (found {', '.join(parts) or 'one, at the top'})",
            f"pretrain.part={parts[0]} (rt-eval: part={parts[0]})" if parts else "leave part= out",
        )
    return dataclasses.replace(loaded, root={"state_dict": inner})


def _unknown(loaded: LoadedFile, path: str | Path) -> CheckpointError:
    if any(re.search(r"(^|\.)conv1\.0\.weight$", key) for _, t in state_dicts(loaded.root) for key in t):
        return CheckpointError(
            f"{path} holds a network with a stem of several convolutions, as ResNet-D",
            "model=timm model.name=NAME, such as resnet50d",
        )
    return CheckpointError(
        f"{path} is of no known format ({_contents(loaded)})",
        "expected a residual network: conv1, bn1, layer1.0.conv1, ... below one prefix, or one of "
        f"{', '.join(FORMATS)}; say other networks: model=timm model.name=NAME, model=wideresnet28_10",
    )


def _plain_warning(taken: Format) -> list[str]:
    alternatives = [source.name for source in _PLAIN if source is not taken]
    return [
        f"ambiguous: the keys are also those of {' and '.join(alternatives)} (simclr takes images in [0, 1], "
        f"without mean and std); taken as {taken.name}; pretrain.format=NAME settles it"
    ]


def _matching(loaded: LoadedFile, formats: tuple[Format, ...]) -> list[tuple[Format, View]]:
    views = [(each, _view(loaded, each)) for each in formats]
    return [(each, view) for each, view in views if view and each.matches and each.matches(view)]


def _view(loaded: LoadedFile, source: Format) -> View | None:
    for path in source.paths:
        tensors = state_dict_of(_walk(loaded.root, path))
        if tensors:
            top = loaded.root if isinstance(loaded.root, Mapping) else {}
            return View(top=top, path=path, tensors=plain_weights(tensors), container=loaded.container)
    return None


def _walk(root: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        if not isinstance(root, Mapping) or step not in root:
            return None
        root = root[step]
    return root


def _contents(loaded: LoadedFile) -> str:
    """Describe a file of unknown format, for an error message: its tensors, else its keys."""
    if not isinstance(loaded.root, Mapping):
        return f"found {type(loaded.root).__name__}"
    _, tensors = next(state_dicts(loaded.root), ("", loaded.root))
    names = sorted({str(key).split(".")[0] for key in tensors})
    return f"found keys {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
