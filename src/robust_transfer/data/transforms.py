"""Training and test transforms: PIL RGB image -> uint8 tensor (C, H, W).

Nothing is normalised here. Division by 255 happens on the device (equal to torchvision's ToTensor), so that
a quarter of the bytes crosses between processes. Random transforms read torch's global generator; the
loaders run them under a key of (seed, epoch, image, view).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torchvision.transforms import transforms as tv
from torchvision.transforms.functional import pil_to_tensor

from robust_transfer.core.errors import ConfigError
from robust_transfer.data.sizes import resized_side

Transform = Callable[[Image.Image], torch.Tensor]
AUGMENTS = ("crop_flip", "crop", "none")


def _whole_image(image_size: int) -> list[Callable[[Image.Image], Image.Image]]:
    """Resize the short side to `image_size`; images of the small sets are square, so nothing is cut off."""
    return [tv.Resize(image_size), tv.CenterCrop(image_size)]


def _composed(*steps: Callable[[Image.Image], Image.Image]) -> Transform:
    transform: Transform = tv.Compose([*steps, pil_to_tensor])
    return transform


def train_transform(image_size: int, augment: str) -> Transform:
    """Return the supervised training transform.

    Parameters
    ----------
    augment : "crop_flip" (RandomResizedCrop, area 0.08..1, and horizontal flip: the study's recipe),
        "crop" (without the flip), "none" (the whole image, as in the test)
    """
    if augment not in AUGMENTS:
        raise ConfigError(f"augment='{augment}' (expected one of {', '.join(AUGMENTS)})")
    if augment == "none":
        return _composed(*_whole_image(image_size))
    flip = [tv.RandomHorizontalFlip()] if augment == "crop_flip" else []
    return _composed(tv.RandomResizedCrop(image_size), *flip)


def eval_transform(image_size: int, *, whole: bool = False) -> Transform:
    """Return the test transform: Resize to image_size * 256 / 224, CenterCrop (256 and 224 for ImageNet).

    The study does so on every natural set, CIFAR included.

    Parameters
    ----------
    whole : resize the short side to `image_size` instead, so that square images are not cropped and those
        of the network's size are not changed: how published CIFAR networks are tested, and sets whose
        training takes the whole image (digits, mnist5k)
    """
    if whole:
        return _composed(*_whole_image(image_size))
    return _composed(tv.Resize(resized_side(image_size)), tv.CenterCrop(image_size))
