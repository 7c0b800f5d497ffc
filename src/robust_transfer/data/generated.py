"""Keyed random images in place of a real set: they exercise a whole run, whose numbers mean nothing."""

from __future__ import annotations

import torch
from PIL import Image

from robust_transfer.core import rng
from robust_transfer.data.listing import Listing

SIDE_PIXELS = 64


class GeneratedImages:
    """Uniform uint8 noise, one key per image: the same picture in any process and order."""

    def __init__(self, name: str, split: str) -> None:
        self.purpose = f"generated {name} {split}"

    def __call__(self, row: int) -> Image.Image:
        """Draw the image of one row."""
        keyed = rng.generator(0, self.purpose, row)
        shape = (SIDE_PIXELS, SIDE_PIXELS, 3)
        pixels = torch.randint(0, 256, shape, generator=keyed, dtype=torch.uint8)
        return Image.fromarray(pixels.numpy())


def generated_listing(name: str, split: str, num_classes: int, num_images: int) -> Listing:
    """List `num_images` generated images, spread evenly over the classes of the real set."""
    labels = [i * num_classes // num_images for i in range(num_images)]
    paths = [f"generated/{name}/{split}/{i:06d}" for i in range(num_images)]
    names = [f"class {label:04d}" for label in range(num_classes)]
    return Listing(names, paths, labels, GeneratedImages(name, split))
