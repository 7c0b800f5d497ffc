"""Checkpoint formats: where the weights are, what they are called, how images were normalised.

A format is found by its keys. Every network known here has a `conv1` beside its `layer1`; what precedes
these names is called the *root* of the backbone ("module.model.", "backbone.", "").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Tensors = Mapping[str, torch.Tensor]

# What DataParallel, DistributedDataParallel and torch.compile put before a key, at any depth.
WRAPPERS = r"(?:(?:module|_orig_mod)\.)*"

# What Sequential(*children) makes of the names.
NUMBERS = (
    (r"^0\.(weight)$", r"conv1.\1"),
    (r"^1\.(weight|bias|running_mean|running_var|num_batches_tracked)$", r"bn1.\1"),
    (r"^4\.(\d+\.\w+\.)", r"layer1.\1"),
    (r"^5\.(\d+\.\w+\.)", r"layer2.\1"),
    (r"^6\.(\d+\.\w+\.)", r"layer3.\1"),
    (r"^7\.(\d+\.\w+\.)", r"layer4.\1"),
)

COMMON_PATHS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net", "")


@dataclass(frozen=True)
class View:
    """What a format is recognised by.

    Parameters
    ----------
    top : the file's outermost dict (empty where the file is one module or one safetensors file)
    path : where in it `tensors` were found, dotted; "" = at the top
    tensors : the state_dict as it is in the file
    container : "safetensors", "zip" or "legacy"
    """

    top: Mapping[str, Any]
    path: str
    tensors: Tensors
    container: str


@dataclass(frozen=True)
class Format:
    """One source of checkpoints.

    Parameters
    ----------
    name : as in pretrain.format=, or "native"
    root : regular expression for what precedes the backbone's keys
    matches : whether a file can be of this format; None: the keys do not show it, it must be declared
    normalize : the source's normalisation ("imagenet", "cifar", "none"), or None if the file does not tell
    rename : (pattern, replacement) pairs for keys below the root, tried in order on each key
    paths : where the state_dict may lie, first found wins
    classifier : prefix of the linear classifier below the root, or from the top if it starts with "/";
        None: the format has none, and an `fc` in it is a projection
    names : what the backbone's tensors are called; None: as those of torchvision's ResNets
    """

    name: str
    root: str
    matches: Callable[[View], bool] | None
    normalize: Callable[[View], str | None]
    rename: tuple[tuple[str, str], ...] = ()
    paths: tuple[str, ...] = COMMON_PATHS
    classifier: str | None = "fc."
    names: frozenset[str] | None = None


def always(name: str) -> Callable[[View], str | None]:
    """Return the `normalize` of a source that always normalises in one way."""
    return lambda view: name


def has_key(tensors: Tensors, pattern: str) -> bool:
    """Tell whether any key contains the regular expression."""
    return any(re.search(pattern, key) for key in tensors)


def head_size(tensors: Tensors) -> int | None:
    """Return the number of rows of the only `fc.weight` or `linear.weight`; None where there is none."""
    sizes = {t.shape[0] for key, t in tensors.items() if re.search(r"(^|\.)(fc|linear)\.weight$", key)}
    return sizes.pop() if len(sizes) == 1 else None


def imagenet_if_thousand(view: View) -> str | None:
    """Infer ImageNet's statistics from a head of 1000 classes; other heads tell nothing."""
    return "imagenet" if head_size(view.tensors) == 1000 else None
