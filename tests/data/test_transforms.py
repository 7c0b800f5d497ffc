"""Transforms against torchvision's own, and against hand-made pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as tv

from robust_transfer import rng
from robust_transfer.data.transforms import eval_transform, gaussian_blur, train_transform, two_views
from robust_transfer.errors import ConfigError


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
    for transform in (train_transform(8, "none"), eval_transform(8, "none")):
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


def test_unknown_augment_is_refused():
    with pytest.raises(ConfigError, match="mixup"):
        train_transform(8, "mixup")


@pytest.mark.parametrize(("kernel_size", "sigma"), [(3, 0.1), (5, 0.7), (23, 2.0), (23, 0.4)])
def test_blur_is_torchvisions_up_to_rounding(kernel_size, sigma):
    image = F.pil_to_tensor(picture())
    expected = F.gaussian_blur(image, [kernel_size, kernel_size], [sigma, sigma])
    difference = gaussian_blur(image, kernel_size, sigma).int() - expected.int()
    assert difference.abs().max() <= 1 and (difference == 0).float().mean() > 0.99


def test_two_views_draw_what_simclr_draws():
    """Counts over many draws: gray with 0.2, and with no colour strength neither hue nor brightness moves."""
    view, other = two_views(20, 1.0)
    assert view is other
    image, gray, plain_gray = picture(), 0, 0
    for i in range(200):
        with rng.global_state(0, "views", i):
            out = view(image)
        assert out.dtype == torch.uint8 and out.shape == (3, 20, 20)
        gray += int(torch.equal(out[0], out[1]) and torch.equal(out[1], out[2]))
    assert 20 <= gray <= 65  # 40 expected, standard deviation 5.7
    flat = Image.new("RGB", (40, 40), (200, 100, 50))
    for i in range(50):
        with rng.global_state(0, "flat", i):
            out = two_views(20, 0.0)[0](flat)
        is_gray = bool((out[0] == out[2]).all())
        plain_gray += is_gray
        if not is_gray:
            assert (out.float() - torch.tensor([200.0, 100.0, 50.0]).view(3, 1, 1)).abs().max() <= 1
    assert plain_gray < 25
