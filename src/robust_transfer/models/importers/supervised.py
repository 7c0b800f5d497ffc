"""Formats with torchvision's bare keys: torchvision, timm, SimCLR v1 converted to PyTorch.

Their keys are the same, so a file of one may be of another. What DataParallel, torch.compile and Lightning
put before the keys is stripped.
"""

from __future__ import annotations

import re

from robust_transfer.models.importers.formats import (
    NUMBERS,
    Format,
    View,
    always,
    has_key,
    imagenet_if_thousand,
)

PLAIN_ROOT = r"(?:(?:module|_orig_mod|model|net)\.)*"


def _plain(view: View) -> bool:
    return any(re.fullmatch(PLAIN_ROOT + r"conv1\.weight", key) for key in view.tensors)


def _timm(view: View) -> bool:
    return _plain(view) and (view.container == "safetensors" or view.path == "state_dict_ema")


TORCHVISION = Format(
    name="torchvision",
    root=PLAIN_ROOT,
    matches=_plain,
    normalize=imagenet_if_thousand,
)

TIMM = Format(
    name="timm",
    root=PLAIN_ROOT,
    matches=_timm,
    normalize=always("imagenet"),  # the default of its ResNets; a config.json beside the file is asked first
)

# Chen et al. 2020, arXiv:2002.05709: the original takes images in [0, 1] as they are.
SIMCLR = Format(
    name="simclr",
    root=PLAIN_ROOT,
    matches=None,
    normalize=always("none"),
)

# fastai's body, and what Sequential(*children) makes of a network; its head is of another make.
NUMBERED = Format(
    name="numbered",
    root=r"(?:module\.)?(?:0\.(?=\d))?",
    matches=lambda view: has_key(view.tensors, r"^(module\.)?(0\.)?4\.0\.conv1\.weight$"),
    normalize=lambda view: None,
    rename=NUMBERS,
    classifier=None,
)


def _transformers_normalize(view: View) -> str | None:
    head = view.tensors.get("classifier.1.weight")
    return "imagenet" if head is not None and head.shape[0] == 1000 else None


# Hugging Face's ResNetModel and ResNetForImageClassification.
TRANSFORMERS = Format(
    name="transformers",
    root=r"(?:module\.)?(?:resnet\.)?",
    matches=lambda view: has_key(view.tensors, r"(^|\.)embedder\.embedder\.convolution\.weight$"),
    normalize=_transformers_normalize,
    rename=(
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        *((rf"^encoder\.stages\.{stage}\.layers\.", f"layer{stage + 1}.") for stage in range(4)),
        (r"^(layer\d\.\d+)\.shortcut\.convolution\.", r"\1.downsample.0."),
        (r"^(layer\d\.\d+)\.shortcut\.normalization\.", r"\1.downsample.1."),
        *(
            (rf"^(layer\d\.\d+)\.layer\.{number}\.{theirs}\.", rf"\1.{ours}{number + 1}.")
            for number in range(3)
            for theirs, ours in (("convolution", "conv"), ("normalization", "bn"))
        ),
    ),
    classifier="/classifier.1.",
)
