import pytest
import torch

from robust_transfer.models import batching


def test_every_pass_has_the_shape_and_every_image_its_own_logits():
    sizes = []

    def model(images):
        sizes.append(len(images))
        assert (images.flatten(1).amax(1) > 0).all(), "padding is made of real images"
        return images.flatten(1)[:, :2]

    images = torch.arange(1, 23.0).view(11, 2, 1, 1)
    assert torch.equal(batching.forward(model, images, 4), images.flatten(1))
    assert sizes == [4, 4, 4]
    assert [count for _, count in batching.batches(images, 4)] == [4, 4, 3]


def test_a_full_batch_is_not_copied():
    images = torch.rand(4, 3, 2, 2)
    assert batching.padded(images, 4) is images
    assert torch.equal(batching.padded(images[:1], 3), images[:1].expand(3, 3, 2, 2))


@pytest.mark.parametrize("largest", [1, 2, 3, 12, 100, 128])
def test_a_rung_of_the_ladder_is_at_most_a_quarter_larger_than_what_it_holds(largest):
    shapes = [batching.shape_for(count, largest) for count in range(1, largest + 1)]
    for count, shape in enumerate(shapes, start=1):
        assert count <= shape <= max(1.25 * count, count + (largest < 8)) and shape <= largest
    assert len(set(shapes)) <= 4 * largest.bit_length() and sorted(shapes) == shapes


def test_the_ladder_shortens_the_last_batch_alone():
    sizes = []
    images = torch.rand(37, 2)
    logits = batching.forward(lambda x: sizes.append(len(x)) or x, images, 16, "ladder")
    assert sizes == [16, 16, 5] and torch.equal(logits, images)
