"""Transforms against torchvision's own, and against hand-made pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as tv

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.data.transforms import (
    COLOUR_AXES,
    COLOUR_VARIANCES,
    draw_crop,
    eval_transform,
    lit,
    train_transform,
)


def picture(width=50, height=37):
    pixels = rng.normal((height, width, 3), 0, "picture").mul(60).add(128).clamp(0, 255)
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def test_evaluation_is_resize_256_and_centre_crop_224_scaled():
    image = picture()
    assert torch.equal(
        eval_transform(224)(image),
        tv.Compose([tv.Resize(256), tv.CenterCrop(224), F.pil_to_tensor])(image),
    )
    assert eval_transform(28)(image).shape == (3, 28, 28)


def test_uint8_over_255_is_to_tensor():
    image = picture()
    ours = eval_transform(32)(image).float() / 255
    assert torch.equal(ours, F.to_tensor(tv.CenterCrop(32)(tv.Resize(37)(image))))


def test_augment_none_is_the_whole_image_in_training_and_test():
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("RGB")
    for transform in (train_transform(8, "none"), eval_transform(8, whole=True)):
        assert torch.equal(transform(image)[0], torch.arange(64).reshape(8, 8).to(torch.uint8))


def test_training_crops_and_flips():
    """Halves of two colours: without the flip a crop never mirrors them, with it half of the time."""
    image = Image.new("RGB", (40, 40))
    image.paste((255, 255, 255), (20, 0, 40, 40))
    mirrored = {"crop": 0, "crop_flip": 0}
    for augment in mirrored:
        transform = train_transform(16, augment)
        for i in range(60):
            with rng.global_state(0, "test", i):
                out = transform(image).float()
            assert out.shape == (3, 16, 16)
            mirrored[augment] += int(out[0, :, 0].mean() > out[0, :, -1].mean() + 1)
    assert mirrored["crop"] == 0 and 10 < mirrored["crop_flip"] < 40


@pytest.mark.parametrize("size", [(50, 37), (72, 108), (1, 1), (3, 200), (200, 3), (640, 480)])
def test_crops_are_drawn_and_made_number_by_number_as_by_torchvision(size):
    image = picture(*size)
    for augment, more in (("crop_flip", [tv.RandomHorizontalFlip()]), ("crop", [])):
        theirs = tv.Compose([tv.RandomResizedCrop(16), *more, F.pil_to_tensor])
        for i in range(40):
            with rng.global_state(0, "test", i):
                ours, after = train_transform(16, augment)(image), torch.rand(1)
            with rng.global_state(0, "test", i):
                assert torch.equal(ours, theirs(image)) and torch.equal(after, torch.rand(1))
    for i in range(40):
        with rng.global_state(1, "test", i):
            drawn = draw_crop(*size, (0.2, 0.9))
        with rng.global_state(1, "test", i):
            assert drawn == tv.RandomResizedCrop.get_params(image, [0.2, 0.9], [3 / 4, 4 / 3])


def test_colours_and_light_are_those_of_robustness():
    """ColorJitter is torchvision's; the light's shifts have the covariance that its formula has."""
    image = picture()
    theirs = tv.Compose(
        [tv.RandomResizedCrop(16), tv.RandomHorizontalFlip(), tv.ColorJitter(0.1, 0.1, 0.1), F.pil_to_tensor]
    )
    for i in range(10):
        with rng.global_state(0, "test", i):
            ours = train_transform(16, "crop_flip_color")(image)
        with rng.global_state(0, "test", i):
            expected = lit(theirs(image))
        assert torch.equal(ours, expected)
    gray = torch.full((3, 1, 4000), 128, dtype=torch.uint8)
    with rng.global_state(0, "light"):
        shifts = torch.stack([lit(gray)[:, 0, 0].double() - 128 for _ in range(4000)])
    axes = COLOUR_AXES.double() * COLOUR_VARIANCES.double() * 0.05 * 255
    expected = axes @ axes.T + torch.eye(3) / 12  # rounding to whole numbers adds 1/12
    torch.testing.assert_close(torch.cov(shifts.T), expected.double(), rtol=0.1, atol=0.3)


def test_unknown_augment_is_refused():
    with pytest.raises(ConfigError, match="mixup"):
        train_transform(8, "mixup")
