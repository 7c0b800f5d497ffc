"""A denoiser before a classifier, so that a classifier trained without noise can be smoothed.

B batch, C channels, H/W pixels, K classes.

References
----------
Salman et al. 2020, "Denoised smoothing", arXiv:2003.01908; Zhang et al. 2017 (DnCNN), arXiv:1608.03981.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models.checkpoint import check_tensors
from robust_transfer.models.importers.structure import plain_weights, state_dicts
from robust_transfer.models.normalized import Classifier
from robust_transfer.models.safe_load import load_file


class Denoised(Classifier):
    """A classifier that sees images after a denoiser; both in [0, 1] units.

    Smoothed, it has the guarantee of any other classifier: the denoiser is part of it.

    Parameters
    ----------
    denoiser : any module from noisy images (B, C, H, W) to images of the same shape
    classifier : its network is shared, not copied
    """

    def __init__(self, denoiser: nn.Module, classifier: Classifier) -> None:
        super().__init__(
            classifier.backbone,
            arch=classifier.arch,
            width=classifier.width,
            class_names=classifier.class_names,
            image_size=classifier.image_size,
            mean=classifier.mean,
            std=classifier.std,
            train_sigma=classifier.train_sigma,
        )
        self.denoiser = denoiser

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) noisy images to logits (B, K)."""
        return super().forward(self.denoiser(images))


class DnCNN(nn.Module):
    """Predicts the noise of an image by convolutions and subtracts it; keys as in denoised-smoothing."""

    def __init__(self, depth: int = 17, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            norm = nn.BatchNorm2d(channels, eps=1e-4, momentum=0.95)
            convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            layers += [convolution, norm, nn.ReLU(inplace=True)]
        layers.append(nn.Conv2d(channels, 3, 3, padding=1, bias=False))
        self.dncnn = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]  # untrained, it changes nothing

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) noisy images to denoised ones."""
        clean: torch.Tensor = images - self.dncnn(images)
        return clean


def read_denoiser(path: str | Path) -> DnCNN:
    """Read a DnCNN for RGB images from a file of denoised-smoothing, or a state_dict of `DnCNN`.

    Raises
    ------
    CheckpointError : unreadable, no DnCNN, several, or an incomplete one
    """
    networks = {}
    for where, tensors in state_dicts(load_file(path).root):
        plain = plain_weights(tensors)
        for root in {m[1] for key in plain if (m := re.match(r"(.*?)dncnn\.0\.weight$", key))}:
            networks[where, root] = {k.removeprefix(root): t for k, t in plain.items() if k.startswith(root)}
    if len(networks) != 1:
        raise CheckpointError(
            f"{path} holds {len(networks) or 'no'} DnCNN (expected one: dncnn.0.weight, ...)",
            "another denoiser: robust_transfer.models.Denoised(module, classifier) in Python",
        )
    (tensors,) = networks.values()
    numbers = [int(m[1]) for key in tensors if (m := re.match(r"dncnn\.(\d+)\.weight$", key))]
    denoiser = DnCNN(depth=2 + (max(numbers) - 2) // 3, channels=tensors["dncnn.0.weight"].shape[0])
    check_tensors(tensors, denoiser.state_dict(), path)
    denoiser.load_state_dict(tensors)
    return denoiser.eval()
