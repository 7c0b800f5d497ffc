"""Training, test and SimCLR transforms: PIL RGB image -> uint8 tensor (C, H, W).

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

from robust_transfer.errors import ConfigError

Transform = Callable[[Image.Image], torch.Tensor]
AUGMENTS = ("crop_flip", "crop", "none")


def _whole_image(image_size: int) -> list[Callable]:
    """Resize the short side to `image_size`; images of the small sets are square, so nothing is cut off."""
    return [tv.Resize(image_size), tv.CenterCrop(image_size)]


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
        return tv.Compose([*_whole_image(image_size), pil_to_tensor])
    flip = [tv.RandomHorizontalFlip()] if augment == "crop_flip" else []
    return tv.Compose([tv.RandomResizedCrop(image_size), *flip, pil_to_tensor])


def eval_transform(image_size: int, augment: str = "crop_flip") -> Transform:
    """Return the test transform: Resize to image_size * 256 / 224, CenterCrop (256 and 224 for ImageNet).

    The study does so on every natural set, CIFAR included. Sets whose training takes the whole image
    (augment "none": digits, mnist5k) are tested on the whole image.
    """
    if augment == "none":
        return tv.Compose([*_whole_image(image_size), pil_to_tensor])
    return tv.Compose([tv.Resize(round(image_size * 256 / 224)), tv.CenterCrop(image_size), pil_to_tensor])


def two_views(image_size: int, color_strength: float) -> tuple[Transform, Transform]:
    """Return SimCLR's augmentation, once for each view (Chen et al. 2020, arXiv 2002.05709, Appendix A).

    Crop (area 0.08..1) and flip, then colour jitter (0.8, 0.8, 0.8, 0.2) * color_strength with probability
    0.8, gray with 0.2, Gaussian blur with 0.5 (kernel: a tenth of the side, odd; sigma 0.1..2 pixels).
    """
    s = color_strength
    jitter = tv.ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s)
    view = tv.Compose(
        [
            tv.RandomResizedCrop(image_size, scale=(0.08, 1.0)),
            tv.RandomHorizontalFlip(),
            tv.RandomApply([jitter], p=0.8),
            tv.RandomGrayscale(p=0.2),
            pil_to_tensor,
            tv.RandomApply([GaussianBlur(image_size // 10 | 1, (0.1, 2.0))], p=0.5),
        ]
    )
    return view, view


class GaussianBlur:
    """Blur a uint8 image (C, H, W) with a random sigma, as two passes of one dimension each.

    torchvision's transform convolves with the square kernel, eleven times the work at 224 pixels.
    """

    def __init__(self, kernel_size: int, sigma_range: tuple[float, float]) -> None:
        self.kernel_size, self.sigma_range = kernel_size, sigma_range

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Draw sigma from torch's global generator and blur."""
        sigma = torch.empty(()).uniform_(*self.sigma_range).item()
        return gaussian_blur(image, self.kernel_size, sigma)


def gaussian_blur(image: torch.Tensor, kernel_size: int, sigma: float) -> torch.Tensor:
    """Convolve with a Gaussian of `sigma` pixels cut off at `kernel_size` (odd); the border is mirrored."""
    half = kernel_size // 2
    offsets = torch.arange(-half, half + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    planes = image.float().unsqueeze(1)  # each channel is an image of its own: (C, 1, H, W)
    planes = torch.nn.functional.pad(planes, (half, half, half, half), mode="reflect")
    planes = torch.nn.functional.conv2d(planes, kernel.unsqueeze(2))
    planes = torch.nn.functional.conv2d(planes, kernel.unsqueeze(3))
    return planes.squeeze(1).round().clamp(0, 255).to(torch.uint8)
