"""SimCLR's views as a worker makes them, against torchvision's random transforms."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import functional as F
from torchvision.transforms import transforms as tv

from robust_transfer.core import rng
from robust_transfer.data.device_views import finish
from robust_transfer.data.views import (
    ViewRecipe,
    blur_size,
    cropped_view,
    draw_view,
    gaussian_blur,
    two_views,
    view_maker,
)

SIMCLR = ViewRecipe(32, jitter=(0.8, 0.8, 0.8, 0.2), p_jitter=0.8, p_gray=0.2, p_blur=0.5)


@pytest.fixture(scope="module")
def photograph():
    return Image.fromarray(load_sample_image("flower.jpg")).resize((160, 107))


def jitter_of(strength):
    return tv.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)


class RandomBlur:
    """Draws sigma where SimCLR does: last of all."""

    def __call__(self, image):
        return gaussian_blur(image, 3, torch.empty(()).uniform_(0.1, 2.0).item())


@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
def test_a_view_is_torchvisions_chain_of_random_transforms(photograph, strength):
    chain = tv.Compose(
        [
            tv.RandomResizedCrop(32, scale=(0.08, 1.0)),
            tv.RandomHorizontalFlip(),
            tv.RandomApply([jitter_of(strength)], p=0.8),
            tv.RandomGrayscale(p=0.2),
            F.pil_to_tensor,
            tv.RandomApply([RandomBlur()], p=0.5),
        ]
    )
    view, other = two_views(32, strength)
    assert view is other
    for i in range(60):
        with rng.global_state(0, "views", i):
            expected = chain(photograph)
        with rng.global_state(0, "views", i):
            assert torch.equal(view(photograph), expected), i


def test_the_device_is_left_what_the_worker_would_draw(photograph):
    for i in range(20):
        with rng.global_state(0, "views", i):
            view = draw_view(photograph, SIMCLR, jitter_of(1.0))
        with rng.global_state(0, "views", i):
            cropped = cropped_view(photograph, recipe=SIMCLR, jitter=jitter_of(1.0))
        top, left, height, width = view.crop
        box = (left, top, left + width, top + height)
        # crop and resize at once would also look at pixels beside the box
        pixels = F.pil_to_tensor(photograph.crop(box).resize((32, 32), Image.Resampling.BILINEAR))
        assert torch.equal(cropped.crop, pixels)
        flip, gray, sigma, solarize, *rest = cropped.drawn.tolist()
        assert not solarize and not view.solarize
        order = tuple(int(turn) for turn in rest[4:] if turn >= 0)
        assert (bool(flip), bool(gray), order) == (view.flip, view.gray, view.order)
        assert (sigma, *rest[:4]) == pytest.approx((view.sigma, *view.factors), rel=1e-7)


def test_a_strength_that_turns_the_hue_by_more_than_half_is_refused_before_any_image():
    with pytest.raises(ValueError, match="hue"):
        two_views(32, 2.6)


def test_kernel_of_the_blur():
    assert [blur_size(side) for side in (224, 96, 32, 8)] == [23, 9, 3, 1]


@pytest.mark.parametrize(("kernel_size", "sigma"), [(3, 0.1), (5, 0.7), (23, 2.0), (23, 0.4)])
def test_blur_is_torchvisions_up_to_rounding(photograph, kernel_size, sigma):
    image = F.pil_to_tensor(photograph)
    expected = F.gaussian_blur(image, [kernel_size, kernel_size], [sigma, sigma])
    difference = gaussian_blur(image, kernel_size, sigma).int() - expected.int()
    assert difference.abs().max() <= 1 and (difference == 0).float().mean() > 0.99


def test_two_views_draw_what_simclr_draws(photograph):
    """Counts over many draws: gray with 0.2, and with no colour strength neither hue nor brightness moves."""
    view, _ = two_views(20, 1.0)
    gray, plain_gray = 0, 0
    for i in range(200):
        with rng.global_state(0, "views", i):
            out = view(photograph)
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


@pytest.mark.parametrize("augment_on", ["cpu", "device"])
def test_a_view_is_solarised_last_of_all(photograph, augment_on):
    """Always or never, of one draw: values of at least one half are inverted, in the worker or later."""

    def view(p_solarize):
        make = view_maker(ViewRecipe(32, p_blur=1.0, p_gray=1.0, p_solarize=p_solarize), augment_on)
        with rng.global_state(0, "solarise"):
            made = make(photograph)
        if augment_on == "cpu":
            return made.float() / 255
        return finish(made.crop.unsqueeze(0), made.drawn.unsqueeze(0))[0]

    plain, solarised = view(0.0), view(1.0)
    assert 0.1 < (plain >= 0.5).float().mean() < 0.9
    torch.testing.assert_close(solarised, torch.where(plain >= 0.5, 1 - plain, plain), rtol=0, atol=1e-6)


def test_a_padded_crop_is_torchvisions(photograph):
    square = photograph.crop((0, 0, 96, 96)).resize((32, 32), Image.Resampling.BILINEAR)
    make, shifts = view_maker(ViewRecipe(32, pad_crop=4), "cpu"), set()
    padded = F.pad(F.pil_to_tensor(square), [4, 4, 4, 4])
    for i in range(60):
        with rng.global_state(0, "padded", i):
            made = make(square)
        for flipped in (made, made.flip(2)):
            shifts |= {
                (top, left)
                for top in range(9)
                for left in range(9)
                if torch.equal(padded[:, top : top + 32, left : left + 32], flipped)
            }
    assert len(shifts) > 30 and {top for top, _ in shifts} == {left for _, left in shifts} == set(range(9))


def test_a_recipe_without_strength_shows_the_whole_image_or_its_mirror(photograph):
    square = photograph.crop((0, 0, 96, 96)).resize((32, 32))
    make, seen = view_maker(ViewRecipe(32, area=(1.0, 1.0), p_jitter=0.0), "cpu"), set()
    for i in range(30):
        with rng.global_state(0, "whole", i):
            made = make(square)
        plain = torch.equal(made, F.pil_to_tensor(square))
        assert plain or torch.equal(made.flip(2), F.pil_to_tensor(square))
        seen.add(plain)
    assert seen == {True, False}
