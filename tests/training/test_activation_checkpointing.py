import copy

import torch

from robust_transfer.core import rng
from robust_transfer.models.modes import eval_mode, no_param_grad
from robust_transfer.training.activation_checkpointing import checkpoint_blocks
from small_model import small_model


def test_outputs_gradients_and_statistics_stay_the_same_to_the_bit():
    plain = small_model(2).train()
    recomputing = copy.deepcopy(plain)
    checkpoint_blocks(recomputing)
    images = torch.rand(4, 3, 8, 8, generator=rng.generator(0, "images"))
    for model in (plain, recomputing):
        model(images).square().sum().backward()
        model(images).square().sum().backward()
    for (name, wanted), found in zip(plain.named_parameters(), recomputing.parameters(), strict=True):
        assert torch.equal(found.grad, wanted.grad), name
    for (name, wanted), found in zip(plain.named_buffers(), recomputing.named_buffers(), strict=True):
        assert name == found[0] and torch.equal(found[1], wanted), name
    assert plain.backbone.bn1.num_batches_tracked == 2

    gradients = []
    for model in (plain, recomputing):
        with eval_mode(model), no_param_grad(model):
            x = images.clone().requires_grad_()
            gradients.append(torch.autograd.grad(model(x).square().sum(), x)[0])
    assert torch.equal(*gradients)


def test_activations_of_a_block_are_not_kept():
    model = small_model(2).train()
    images = torch.rand(4, 3, 8, 8, generator=rng.generator(0, "images"))

    def kept_bytes():
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
            model(images)
        return sum(sizes)

    before = kept_bytes()
    checkpoint_blocks(model)
    assert kept_bytes() < before / 2
