"""Finish views in batches, in float32, on their device.

What the worker's PIL does in steps of 8 bits is not rounded here, so the values differ by those roundings.
Every image has its own numbers; the rest of the batch changes none of its bits on a CPU.
"""

# B images of one view, R of them, H/W pixels; images are (B, 3, H, W) in [0, 1]

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from robust_transfer.data.views import CONTRAST, HUE, SATURATION, blur_size, gaussian_kernel

LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R 601, as in PIL


def finish(crops: Tensor, drawn: Tensor) -> Tensor:
    """Flip, jitter, gray, blur and solarise cropped views: (B, 3, H, W) uint8 -> float32 in [0, 1].

    Parameters
    ----------
    crops : on any device
    drawn : (B, 12) as in View.row, on the CPU: so that no step waits for a GPU to know its images
    """
    flip, gray, sigma, solarize = drawn[:, :4].unbind(1)
    factors, order = drawn[:, 4:8], drawn[:, 8:].long()
    images = crops.float().div_(255)
    images = torch.where(_each(flip, images) > 0, images.flip(3), images)
    for turn in order.unbind(1):
        images = _blend(images, turn, factors)
        images = _on_rows(images, turn == HUE, shift_hue, factors[:, HUE])
    images = torch.where(_each(gray, images) > 0, luma(images), images)
    images = _on_rows(images, sigma > 0, blur, sigma)
    return torch.where((_each(solarize, images) > 0) & (images >= 0.5), 1 - images, images)


def luma(images: Tensor) -> Tensor:
    """Return the perceived brightness, (B, 1, H, W)."""
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _blend(images: Tensor, turn: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast or saturation, whichever is each image's turn; leave the others' bits.

    All three are `factor * image + (1 - factor) * base`: black, the image's mean gray, each pixel's gray.
    """
    factor = factors.gather(1, turn.clamp(min=0).unsqueeze(1)).squeeze(1)
    factor = _each(factor.masked_fill((turn == HUE) | (turn < 0), 1.0), images)
    grays = luma(images)
    # In two steps: one over a whole image alone in its batch could be cut up among threads.
    mean = grays.mean(3, keepdim=True).mean(2, keepdim=True)
    base = grays * _each(turn == SATURATION, images) + mean * _each(turn == CONTRAST, images)
    return (images * factor + base * (1 - factor)).clamp(0, 1)


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of (R, 3, H, W) by `shift` (R,) of the circle; value and saturation stay."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.masked_fill(chroma == 0, 1.0)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = (sixths + 6 * _each(shift, images).squeeze(1)).unsqueeze(1)
    start = torch.tensor([5.0, 3.0, 1.0]).to(images.device).view(1, 3, 1, 1)
    # HSV to RGB as one formula: each channel is a trapezium over the circle of hues.
    place = (start + sixths) % 6
    turned = value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(place, 4 - place).clamp(0, 1)
    return turned.clamp(0, 1)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Convolve (R, 3, H, W) with Gaussians of `sigma` (R,) pixels, the border mirrored."""
    rows, channels, height, width = images.shape
    size = blur_size(height)
    half = size // 2
    # Made on the CPU: a GPU's exponential differs in the last bit.
    kernels = gaussian_kernel(size, sigma).to(images.device).repeat_interleave(channels, dim=0)
    planes = functional.pad(images, (half, half, half, half), mode="reflect")
    planes = planes.view(1, rows * channels, height + 2 * half, width + 2 * half)
    planes = functional.conv2d(planes, kernels.view(-1, 1, size, 1), groups=rows * channels)
    planes = functional.conv2d(planes, kernels.view(-1, 1, 1, size), groups=rows * channels)
    return planes.view(images.shape).clamp(0, 1)


def _on_rows(
    images: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], numbers: Tensor
) -> Tensor:
    """Replace the chosen images by `change(images, numbers)`."""
    rows = chosen.nonzero().squeeze(1)
    if not len(rows):
        return images
    indices = rows.to(images.device)
    return images.index_copy(0, indices, change(images[indices], numbers[rows]))


def _each(values: Tensor, images: Tensor) -> Tensor:
    """Broadcast one number per image, (B,), to the images as (B, 1, 1, 1)."""
    return values.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)
