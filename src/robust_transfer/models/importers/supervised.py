"""Formats with torchvision's bare keys: torchvision, timm, SimCLR v1 converted to PyTorch.

Their keys are the same, so a file of one may be of another. What DataParallel, torch.compile and Lightning
put before the keys is taken off.
"""

from __future__ import annotations

import re

from robust_transfer.models.importers.formats import Format, View, always, imagenet_if_thousand

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
