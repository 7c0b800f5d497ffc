"""SimCLR's views of an image: what is drawn for one, and how it is made in a worker.

A view is made in the worker whole, by PIL in steps of 8 bits, or cropped there (images of different sizes do
not stack) and finished on the device in float32: see `device_views`. Both draw the same numbers, from torch's
global generator, which the loaders run under a key of (seed, epoch, image, view).
"""

# C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as tv

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as torchvision numbers them
ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


class View(NamedTuple):
    """What is drawn for one view.

    crop : top, left, height and width in pixels of the image
    order : the changes of colour in turn, as positions in `factors`; without those that are not made
    factors : of brightness, contrast and saturation; the shift of the hue, where 1 is the whole circle
    sigma : of the blur, in pixels of the view; 0: no blur
    """

    crop: tuple[int, int, int, int]
    flip: bool
    order: tuple[int, ...]
    factors: tuple[float, ...]
    gray: bool
    sigma: float

    def row(self) -> torch.Tensor:
        """Return all but the crop as 11 numbers: flip, gray, sigma, 4 factors, 4 places of `order` or -1."""
        order = self.order + (-1,) * (4 - len(self.order))
        return torch.tensor([self.flip, self.gray, self.sigma, *self.factors, *order])


class CroppedView(NamedTuple):
    """A view that is cropped and resized, and what is left to do: one, or a batch of them.

    crop : (..., 3, H, W) uint8
    drawn : (..., 11), see View.row
    """

    crop: torch.Tensor
    drawn: torch.Tensor


def two_views(
    image_size: int, color_strength: float, augment_on: str = "cpu"
) -> tuple[Callable[[Image.Image], Any], Callable[[Image.Image], Any]]:
    """Return SimCLR's augmentation, once for each view (Chen et al. 2020, arXiv 2002.05709, Appendix A).

    Crop (area 0.08..1) and flip, then colour jitter (0.8, 0.8, 0.8, 0.2) * color_strength with probability
    0.8, gray with 0.2, Gaussian blur with 0.5 (kernel: a tenth of the side, odd; sigma 0.1..2 pixels).

    Parameters
    ----------
    augment_on : "cpu": PIL RGB image -> uint8 (3, H, W); "device": PIL RGB image -> CroppedView
    """
    s = color_strength
    jitter = tv.ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s)
    makers: dict[str, Callable[..., torch.Tensor | CroppedView]] = {"cpu": whole_view, "device": cropped_view}
    view = partial(makers[augment_on], image_size=image_size, jitter=jitter)
    return view, view


def draw_view(image: Image.Image, jitter: tv.ColorJitter) -> View:
    """Draw one view, number by number as torchvision's random transforms in SimCLR's order do."""
    crop = tv.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
    flip = bool(torch.rand(1) < 0.5)
    order: tuple[int, ...] = ()
    factors: tuple[float, ...] = (1.0, 1.0, 1.0, 0.0)
    if torch.rand(1) <= 0.8:
        turns, *drawn = jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        order = tuple(turn for turn in turns.tolist() if drawn[turn] is not None)
        factors = tuple(same if f is None else f for f, same in zip(drawn, factors, strict=True))
    gray = bool(torch.rand(1) < 0.2)
    sigma = torch.empty(()).uniform_(0.1, 2.0).item() if torch.rand(1) <= 0.5 else 0.0
    return View(crop, flip, order, factors, gray, sigma)


def whole_view(image: Image.Image, *, image_size: int, jitter: tv.ColorJitter) -> torch.Tensor:
    """Draw and make one view, (3, H, W) uint8."""
    view = draw_view(image, jitter)
    image = F.resized_crop(image, *view.crop, [image_size, image_size])
    image = F.hflip(image) if view.flip else image
    for turn in view.order:
        image = ADJUST[turn](image, view.factors[turn])
    image = F.rgb_to_grayscale(image, 3) if view.gray else image
    pixels = F.pil_to_tensor(image)
    return gaussian_blur(pixels, blur_size(image_size), view.sigma) if view.sigma else pixels


def cropped_view(image: Image.Image, *, image_size: int, jitter: tv.ColorJitter) -> CroppedView:
    """Draw one view and crop it; `device_views.finish` does the rest."""
    view = draw_view(image, jitter)
    return CroppedView(
        F.pil_to_tensor(F.resized_crop(image, *view.crop, [image_size, image_size])), view.row()
    )


def blur_size(image_size: int) -> int:
    """Return the side of the blur's kernel: a tenth of the view's, odd."""
    return image_size // 10 | 1


def gaussian_kernel(size: int, sigma: torch.Tensor) -> torch.Tensor:
    """Return the weights of Gaussians of `sigma` pixels cut off at `size` (odd): (...) -> (..., size)."""
    offsets = torch.arange(-(size // 2), size // 2 + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma.unsqueeze(-1)) ** 2)
    return kernel / kernel.sum(-1, keepdim=True)


def gaussian_blur(image: torch.Tensor, kernel_size: int, sigma: float) -> torch.Tensor:
    """Convolve a uint8 image (C, H, W) with a Gaussian, as two passes of one dimension each.

    The border is mirrored. torchvision convolves with the square kernel, eleven times the work at 224 pixels.
    """
    half = kernel_size // 2
    kernel = gaussian_kernel(kernel_size, torch.tensor(sigma)).view(1, 1, -1)
    planes = image.float().unsqueeze(1)  # each channel is an image of its own: (C, 1, H, W)
    planes = functional.pad(planes, (half, half, half, half), mode="reflect")
    planes = functional.conv2d(planes, kernel.unsqueeze(2))
    planes = functional.conv2d(planes, kernel.unsqueeze(3))
    return planes.squeeze(1).round().clamp(0, 255).to(torch.uint8)
