"""Training and test transforms: PIL RGB image -> uint8 tensor (C, H, W).

Nothing is normalised here. Division by 255 happens on the device (equal to torchvision's ToTensor), so that
a quarter of the bytes crosses between processes. Random transforms read torch's global generator; the
loaders run them under a key of (seed, epoch, image, view).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from PIL import Image
from torchvision.transforms import transforms as tv
from torchvision.transforms.functional import pil_to_tensor

from robust_transfer.core.errors import ConfigError
from robust_transfer.data.sizes import resized_side

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random crop: share of the area, width / height
LOG_RATIO = tuple(torch.log(torch.tensor(RATIO)).tolist())
Transform = Callable[[Image.Image], torch.Tensor]
AUGMENTS = ("crop_flip", "crop", "crop_flip_color", "none")

# AlexNet's lighting: a random step along the principal components of ImageNet's colours (Krizhevsky 2012).
COLOUR_VARIANCES = torch.tensor([0.2175, 0.0188, 0.0045])
COLOUR_AXES = torch.tensor(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
JITTER, LIGHT = 0.1, 0.05  # MadryLab's robustness: brightness, contrast and saturation; steps of the light


def _whole_image(image_size: int) -> list[Callable[[Image.Image], Image.Image]]:
    """Resize the short side to `image_size`; images of the small sets are square, so nothing is cropped."""
    return [tv.Resize(image_size), tv.CenterCrop(image_size)]


def _composed(*steps: Callable[[Image.Image], Image.Image]) -> Transform:
    transform: Transform = tv.Compose([*steps, pil_to_tensor])
    return transform


def train_transform(image_size: int, augment: str) -> Transform:
    """Return the supervised training transform.

    Parameters
    ----------
    augment : "crop_flip" (RandomResizedCrop, area 0.08..1, and horizontal flip: the study's recipe),
        "crop" (without the flip), "crop_flip_color" (then ColorJitter of 0.1 and lighting of 0.05, as Salman
        et al. 2020 train on ImageNet with MadryLab's robustness), "none" (the whole image, as in the test)
    """
    if augment not in AUGMENTS:
        raise ConfigError(f"augment='{augment}' (expected one of {', '.join(AUGMENTS)})")
    if augment == "none":
        return _composed(*_whole_image(image_size))
    crop = partial(_crop_flip, image_size=image_size, flip=augment != "crop")
    steps = [crop, _pixels]
    if augment == "crop_flip_color":
        steps = [crop, tv.ColorJitter(JITTER, JITTER, JITTER), _pixels, lit]
    transform: Transform = tv.Compose(steps)
    return transform


def lit(pixels: torch.Tensor) -> torch.Tensor:
    """Shift the colours of a uint8 image (3, H, W) along ImageNet's principal components, at random.

    Note: rounded to 8 bits again and kept in range, where robustness adds it to floats that may leave [0, 1].
    """
    steps = torch.randn(3) * LIGHT * COLOUR_VARIANCES
    shift = 255 * (COLOUR_AXES @ steps).view(3, 1, 1)
    return (pixels + shift).round().clamp(0, 255).to(torch.uint8)


def _crop_flip(image: Image.Image, *, image_size: int, flip: bool) -> Image.Image:
    """Crop and flip as RandomResizedCrop and RandomHorizontalFlip do, number by number and pixel by pixel."""
    top, left, height, width = draw_crop(*image.size)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    if flip and torch.rand(1) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def _pixels(image: Image.Image) -> torch.Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)  # pil_to_tensor copies it thrice
    return pixels.view(image.height, image.width, 3).permute(2, 0, 1)


def draw_crop(
    image_width: int, image_height: int, share: tuple[float, float] = SCALE
) -> tuple[int, int, int, int]:
    """Draw top, left, height, width of a crop, number by number as torchvision's RandomResizedCrop does.

    That one makes tensors of its constants for every image, a fifth of what reading a small image costs.
    """
    area, number = image_width * image_height, torch.empty(1)
    for _ in range(10):
        target_area = area * number.uniform_(*share).item()
        aspect = number.uniform_(*LOG_RATIO).exp_().item()
        width = round(math.sqrt(target_area * aspect))
        height = round(math.sqrt(target_area / aspect))
        if 0 < width <= image_width and 0 < height <= image_height:
            top = int(torch.randint(0, image_height - height + 1, (1,)))
            left = int(torch.randint(0, image_width - width + 1, (1,)))
            return top, left, height, width
    width = min(image_width, round(image_height * RATIO[1]))  # an image so long that no crop fits: its centre
    height = min(image_height, round(image_width / RATIO[0]))
    return (image_height - height) // 2, (image_width - width) // 2, height, width


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
