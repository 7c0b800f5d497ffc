"""Find a file's format by its keys, or take the declared one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import CheckpointError, ConfigError, did_you_mean
from robust_transfer.models.importers.formats import Format, View
from robust_transfer.models.importers.robust import ROBUSTBENCH, ROBUSTNESS, SMOOTHING
from robust_transfer.models.importers.selfsupervised import LIGHTLY, MOCO, SIMCLR_V2, SOLO_LEARN, VISSL
from robust_transfer.models.importers.supervised import SIMCLR, TIMM, TORCHVISION
from robust_transfer.models.safe_load import LoadedFile, state_dict_of

OURS = "robust-transfer"

# With marks of their own.
_SPECIFIC = (ROBUSTNESS, ROBUSTBENCH, SMOOTHING, SOLO_LEARN, LIGHTLY, VISSL, MOCO, SIMCLR_V2)
# With torchvision's keys and nothing else: the first that matches is taken, with a warning.
_PLAIN = (TIMM, TORCHVISION, SIMCLR)

FORMATS = {each.name: each for each in (*_SPECIFIC, *_PLAIN)}
FORMAT_NAMES = ("auto", OURS, *FORMATS)


def choose_format(loaded: LoadedFile, name: str, path: str | Path) -> tuple[Format, View, list[str]]:
    """Return the format, the weights as they lie in the file, and warnings where others would fit too.

    Parameters
    ----------
    name : one of FORMAT_NAMES but "robust-transfer"; "auto" looks at the keys

    Raises
    ------
    ConfigError : no such format
    CheckpointError : no format fits, or several with marks of their own do
    """
    if name != "auto":
        if name not in FORMATS:
            raise ConfigError(f"unknown checkpoint format '{name}'", did_you_mean(name, FORMAT_NAMES))
        view = _view(loaded, FORMATS[name])
        if view is None:
            raise CheckpointError(f"{path} has no weights where {name} keeps them ({_contents(loaded)})")
        return FORMATS[name], view, []
    specific = _matching(loaded, _SPECIFIC)
    if len(specific) > 1:
        names = [found.name for found, _ in specific]
        raise CheckpointError(
            f"{path} is ambiguous: it could be {' or '.join(names)}",
            f"say which: pretrain.format={names[0]} (rt-eval: format=...)",
        )
    if specific:
        return (*specific[0], [])
    plain = _matching(loaded, _PLAIN)
    if not plain:
        raise CheckpointError(
            f"{path} is of no known format ({_contents(loaded)})",
            f"known: {', '.join(FORMATS)}",
        )
    found, view = plain[0]
    return found, view, _plain_warning(found)


def _plain_warning(found: Format) -> list[str]:
    others = [each.name for each in _PLAIN if each is not found]
    return [
        f"ambiguous: the keys are also those of {' and '.join(others)} (simclr takes images in [0, 1], "
        f"without mean and std); taken as {found.name}; pretrain.format=NAME settles it"
    ]


def _matching(loaded: LoadedFile, formats: tuple[Format, ...]) -> list[tuple[Format, View]]:
    views = [(each, _view(loaded, each)) for each in formats]
    return [(each, view) for each, view in views if view and each.matches and each.matches(view)]


def _view(loaded: LoadedFile, wanted: Format) -> View | None:
    for path in wanted.paths:
        tensors = state_dict_of(_walk(loaded.root, path))
        if tensors:
            # torch.compile of a part of a network leaves its mark in the middle of the keys.
            plain = {key.replace("_orig_mod.", ""): tensor for key, tensor in tensors.items()}
            top = loaded.root if isinstance(loaded.root, Mapping) else {}
            return View(top=top, path=path, tensors=plain, container=loaded.container)
    return None


def _walk(root: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        if not isinstance(root, Mapping) or step not in root:
            return None
        root = root[step]
    return root


def _contents(loaded: LoadedFile) -> str:
    """Describe what is in a file that nobody knows, for an error message."""
    if not isinstance(loaded.root, Mapping):
        return f"found {type(loaded.root).__name__}"
    names = sorted({re.split(r"\.", str(key))[0] for key in loaded.root})
    return f"found keys {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
