"""Views of an image for self-supervised training: how one is drawn, and how it is made in a worker.

A view is made in the worker whole, by PIL in steps of 8 bits, or cropped there (images of different sizes do
not stack) and finished on the device in float32: see `device_views`. Both draw the same numbers, from torch's
global generator, which the loaders run under a key of (seed, epoch, image, view).
"""

# C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as tv

from robust_transfer.data.transforms import draw_crop

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as torchvision numbers them
ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


@dataclass(frozen=True)
class ViewRecipe:
    """How views are drawn: crop and flip, then colour jitter, gray, blur and solarisation, each by chance.

    size : height and width of the view in pixels
    area : smallest and largest part of the image's area that a crop takes (its aspect ratio is 3/4..4/3)
    pad_crop : instead of such a crop, the whole image, resized, moved by up to so many pixels over black
    jitter : strengths of brightness, contrast, saturation and hue, as torchvision's ColorJitter takes them
    p_jitter, p_gray, p_blur, p_solarize : probabilities; blurred with sigma 0.1..2 pixels
    bicubic : how crops are resized; otherwise bilinear
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    pad_crop: int | None = None
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    p_jitter: float = 0.0
    p_gray: float = 0.0
    p_blur: float = 0.0
    p_solarize: float = 0.0
    bicubic: bool = False


class View(NamedTuple):
    """The random choices of one view.

    crop : top, left, height and width in pixels of the image
    order : the changes of colour in turn, as positions in `factors`; without those that are skipped
    factors : of brightness, contrast and saturation; the shift of the hue, where 1 is the whole circle
    sigma : of the blur, in pixels of the view; 0: no blur
    solarize : whether values of at least one half are inverted, last of all
    """

    crop: tuple[int, int, int, int]
    flip: bool
    order: tuple[int, ...]
    factors: tuple[float, ...]
    gray: bool
    sigma: float
    solarize: bool

    def row(self) -> torch.Tensor:
        """Return all but the crop as 12 numbers.

        flip, gray, sigma, solarize, 4 factors, 4 places of `order` or -1.
        """
        order = self.order + (-1,) * (4 - len(self.order))
        return torch.tensor([self.flip, self.gray, self.sigma, self.solarize, *self.factors, *order])


class CroppedView(NamedTuple):
    """A view that is cropped and resized, and what is left to do: one, or a batch of them.

    crop : (..., 3, H, W) uint8
    drawn : (..., 12), see View.row
    """

    crop: torch.Tensor
    drawn: torch.Tensor


ViewMaker = Callable[[Image.Image], Any]


def two_views(image_size: int, color_strength: float, augment_on: str = "cpu") -> tuple[ViewMaker, ViewMaker]:
    """Return SimCLR's augmentation, once for each view (Chen et al. 2020, arXiv 2002.05709, Appendix A).

    Crop (area 0.08..1) and flip, then colour jitter (0.8, 0.8, 0.8, 0.2) * color_strength with probability
    0.8, gray with 0.2, Gaussian blur with 0.5 (kernel: a tenth of the side, odd; sigma 0.1..2 pixels).

    Parameters
    ----------
    augment_on : see `view_maker`
    """
    s = color_strength
    jitter = (0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s)
    view = view_maker(ViewRecipe(image_size, jitter=jitter, p_jitter=0.8, p_gray=0.2, p_blur=0.5), augment_on)
    return view, view


def view_maker(recipe: ViewRecipe, augment_on: str) -> ViewMaker:
    """Return what makes a view of an image by a recipe.

    Parameters
    ----------
    augment_on : "cpu": PIL RGB image -> uint8 (3, H, W); "device": PIL RGB image -> CroppedView
    """
    makers: dict[str, Callable[..., torch.Tensor | CroppedView]] = {"cpu": whole_view, "device": cropped_view}
    return partial(makers[augment_on], recipe=recipe, jitter=tv.ColorJitter(*recipe.jitter))


def draw_view(image: Image.Image, recipe: ViewRecipe, jitter: tv.ColorJitter) -> View:
    """Draw one view, number by number as torchvision's random transforms in SimCLR's order do."""
    crop = _draw_crop(image, recipe)
    flip = bool(torch.rand(1) < 0.5)
    order: tuple[int, ...] = ()
    factors: tuple[float, ...] = (1.0, 1.0, 1.0, 0.0)
    if _happens(recipe.p_jitter):
        turns, *drawn = jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        order = tuple(turn for turn in turns.tolist() if drawn[turn] is not None)
        factors = tuple(unchanged if f is None else f for f, unchanged in zip(drawn, factors, strict=True))
    gray = _happens(recipe.p_gray)
    sigma = torch.empty(()).uniform_(0.1, 2.0).item() if _happens(recipe.p_blur) else 0.0
    return View(crop, flip, order, factors, gray, sigma, _happens(recipe.p_solarize))


def _happens(probability: float) -> bool:
    return bool(torch.rand(1) < probability)


def _draw_crop(image: Image.Image, recipe: ViewRecipe) -> tuple[int, int, int, int]:
    if recipe.pad_crop is None:
        return draw_crop(*image.size, recipe.area)
    top, left = (torch.randint(2 * recipe.pad_crop + 1, (2,)) - recipe.pad_crop).tolist()
    return top, left, recipe.size, recipe.size


def _cropped(image: Image.Image, view: View, recipe: ViewRecipe) -> Image.Image:
    """Return the view's part of the image in the view's size."""
    resample = InterpolationMode.BICUBIC if recipe.bicubic else InterpolationMode.BILINEAR
    if recipe.pad_crop is None:
        return cast(Image.Image, F.resized_crop(image, *view.crop, [recipe.size, recipe.size], resample))
    whole = F.center_crop(F.resize(image, [recipe.size], resample), [recipe.size])
    return cast(Image.Image, F.crop(whole, *view.crop))  # black beside the image


def whole_view(image: Image.Image, *, recipe: ViewRecipe, jitter: tv.ColorJitter) -> torch.Tensor:
    """Draw and make one view, (3, H, W) uint8."""
    view = draw_view(image, recipe, jitter)
    image = _cropped(image, view, recipe)
    image = F.hflip(image) if view.flip else image
    for turn in view.order:
        image = ADJUST[turn](image, view.factors[turn])
    image = F.rgb_to_grayscale(image, 3) if view.gray else image
    pixels = F.pil_to_tensor(image)
    pixels = gaussian_blur(pixels, blur_size(recipe.size), view.sigma) if view.sigma else pixels
    return torch.where(pixels < 128, pixels, 255 - pixels) if view.solarize else pixels


def cropped_view(image: Image.Image, *, recipe: ViewRecipe, jitter: tv.ColorJitter) -> CroppedView:
    """Draw one view and crop it; `device_views.finish` does the rest."""
    view = draw_view(image, recipe, jitter)
    return CroppedView(F.pil_to_tensor(_cropped(image, view, recipe)), view.row())


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
