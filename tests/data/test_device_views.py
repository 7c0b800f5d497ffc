"""Views finished in batches, in float, against torchvision's float tensors and against PIL's 8 bits."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import functional as F

from robust_transfer.core import rng
from robust_transfer.data import open_dataset
from robust_transfer.data.device_views import finish
from robust_transfer.data.loaders import training_batches
from robust_transfer.data.views import (
    ADJUST,
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    View,
    two_views,
)

SIDE = 64
NOTHING = View((0, 0, SIDE, SIDE), False, (), (1.0, 1.0, 1.0, 0.0), False, 0.0, False)


@pytest.fixture(scope="module")
def photographs():
    names = ("china.jpg", "flower.jpg")
    return [Image.fromarray(load_sample_image(name)).resize((160, 107)) for name in names]


@pytest.fixture(scope="module")
def crops(photographs):
    return torch.stack([F.pil_to_tensor(p.crop((20, 20, 20 + SIDE, 20 + SIDE))) for p in photographs])


def finished(crops, *views):
    return finish(crops, torch.stack([view.row() for view in views]))


def changed(turn, factor):
    factors = list(NOTHING.factors)
    factors[turn] = factor
    return NOTHING._replace(order=(turn,), factors=tuple(factors))


def test_nothing_drawn_leaves_the_bits_of_to_tensor(crops):
    assert torch.equal(finished(crops, NOTHING, NOTHING), crops.float() / 255)


def test_flip_is_each_images_own(crops):
    one, other = finished(crops, NOTHING._replace(flip=True), NOTHING)
    assert torch.equal(one, crops[0].float().flip(2) / 255) and torch.equal(other, crops[1].float() / 255)


# The largest and the mean difference, in steps of 8 bits. torchvision rounds its weights of gray (0.2989 for
# 0.299); PIL cuts every result to 8 bits, the mean gray of contrast too, and for the hue all of hue (then six
# steps of a saturated colour each), saturation and the shift.
@pytest.mark.parametrize(
    ("turn", "factors", "of_tensors", "of_pil"),
    [
        (BRIGHTNESS, (0.3, 1.7), (1e-3, 1e-3), (1, 0.6)),
        (CONTRAST, (0.3, 1.7), (0.02, 0.01), (1.4, 0.7)),
        (SATURATION, (0.3, 1.7), (0.02, 0.01), (1.4, 0.7)),
        (HUE, (-0.2, 0.13), (1e-3, 1e-3), (8, 1.0)),
    ],
)
def test_colours_are_torchvisions(crops, turn, factors, of_tensors, of_pil):
    actual = finished(crops, *(changed(turn, factor) for factor in factors)) * 255
    for row, factor in enumerate(factors):
        as_tensor = ADJUST[turn](crops[row].float() / 255, factor) * 255
        as_picture = F.pil_to_tensor(ADJUST[turn](F.to_pil_image(crops[row]), factor)).float()
        for expected, (largest, mean) in ((as_tensor, of_tensors), (as_picture, of_pil)):
            difference = (actual[row] - expected).abs()
            assert difference.max() <= largest and difference.mean() <= mean
        assert (actual[row] - crops[row]).abs().mean() > 3  # and something was changed


def test_gray_is_pils(crops):
    actual = finished(crops, NOTHING._replace(gray=True), NOTHING)[0] * 255
    assert torch.equal(actual[0], actual[1]) and torch.equal(actual[0], actual[2])
    picture = F.pil_to_tensor(F.to_pil_image(crops[0]).convert("L"))
    assert (actual[0] - picture[0]).abs().max() <= 0.51


@pytest.mark.parametrize("sigmas", [(0.1, 0.7), (2.0, 0.4)])
def test_blur_is_torchvisions(crops, sigmas):
    actual = finished(crops, *(NOTHING._replace(sigma=sigma) for sigma in sigmas))
    for row, sigma in enumerate(sigmas):
        expected = F.gaussian_blur(crops[row].float() / 255, [7, 7], [sigma, sigma])
        torch.testing.assert_close(actual[row], expected, rtol=0, atol=1e-6)


def test_changes_come_in_each_images_own_order(crops):
    """Two images, one reading: torchvision's float operations one after the other, in two orders."""
    factors = (1.4, 0.5, 1.6, -0.1)
    orders = ((3, 0, 2, 1), (1, 2, 3))
    actual = finished(crops, *(NOTHING._replace(order=order, factors=factors) for order in orders))
    for row, order in enumerate(orders):
        expected = crops[row].float() / 255
        for turn in order:
            expected = ADJUST[turn](expected, factors[turn])
        torch.testing.assert_close(actual[row], expected, rtol=0, atol=1e-4)


def draw(photographs, count, size=SIDE):
    cropped = []
    for i in range(count):
        with rng.global_state(0, "views", i):
            cropped.append(two_views(size, 1.0, "device")[0](photographs[i % 2]))
    return torch.stack([view.crop for view in cropped]), torch.stack([view.drawn for view in cropped])


def test_whole_views_are_the_workers_up_to_its_roundings(photographs):
    actual = finish(*draw(photographs, 60)) * 255
    assert actual.min() >= 0 and actual.max() <= 255
    make, differences = two_views(SIDE, 1.0, "cpu")[0], []
    for i in range(60):
        with rng.global_state(0, "views", i):
            expected = make(photographs[i % 2])
        differences.append(float((actual[i] - expected).abs().mean()))
    # Another draw for the same image changes 40 and more in the mean.
    assert max(differences) < 3 and sum(differences) / 60 < 1.5


@pytest.mark.parametrize("size", [SIDE, 33])
def test_the_rest_of_the_batch_changes_no_bit(photographs, size):
    crops, drawn = draw(photographs, 24, size)
    whole = finish(crops, drawn)
    order = torch.randperm(24, generator=rng.generator(0, "order"))
    assert torch.equal(finish(crops[order], drawn[order]), whole[order])
    parts = [finish(crops[i : i + n], drawn[i : i + n]) for i, n in ((0, 1), (1, 2), (3, 7), (10, 14))]
    assert torch.equal(torch.cat(parts), whole)


def test_threads_change_no_bit(photographs):
    batch = draw(photographs, 8, 224)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = finish(*batch)
        torch.set_num_threads(3)
        assert torch.equal(finish(*batch), one)
        assert torch.equal(finish(batch[0][:1], batch[1][:1]), one[:1])
    finally:
        torch.set_num_threads(before)


def test_workers_processes_and_a_start_in_the_middle_draw_the_same():
    digits = open_dataset("digits", ".", "train", shots=3)

    def views(start=0, **options):
        batches = training_batches(
            digits,
            lambda epoch: two_views(16, 1.0, "device"),
            batch_size=6,
            seed=3,
            start_step=start,
            total_steps=7,
            **options,
        )
        return [torch.stack([finish(*view) for view in zip(b.images, b.drawn, strict=True)]) for b in batches]

    whole = views()
    assert not torch.equal(*whole[0])
    for part, expected in zip(views(start=3, num_workers=2), whole[3:], strict=True):
        assert torch.equal(part, expected)
    for rank in range(2):
        for part, expected in zip(views(rank=rank, world_size=2), whole, strict=True):
            assert torch.equal(part, expected[:, rank::2])
