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
