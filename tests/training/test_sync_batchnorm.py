import copy

import pytest
import torch
from torch import nn

from robust_transfer.core import rng
from robust_transfer.training.sync_batchnorm import CPUSyncBatchNorm, synchronise


@pytest.mark.parametrize("shape", [(6, 3, 4, 4), (6, 3)])
def test_one_process_equals_torch(shape):
    own = nn.BatchNorm2d(3) if len(shape) == 4 else nn.BatchNorm1d(3)
    model = nn.Sequential(own).double()
    nn.init.uniform_(own.weight, 0.5, 2)
    twin = copy.deepcopy(model)
    synchronise(twin, torch.device("cpu"))
    assert isinstance(twin[0], CPUSyncBatchNorm) and list(twin.state_dict()) == list(model.state_dict())
    for step in range(3):
        images = (100 + rng.normal(shape, step, "images").double()).requires_grad_()
        other = images.detach().clone().requires_grad_()
        weights = rng.normal(shape, step, "weights").double()
        (model(images) * weights).sum().backward()
        (twin(other) * weights).sum().backward()
        torch.testing.assert_close(other.grad, images.grad, rtol=1e-9, atol=1e-9)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-9, atol=1e-9, msg=name)
    for found, wanted in zip(twin.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-9, atol=1e-9)
    model.eval(), twin.eval()
    torch.testing.assert_close(twin(images), model(images), rtol=1e-9, atol=1e-9)


def test_bfloat16_images_have_statistics_in_float32():
    own = nn.BatchNorm2d(3)
    twin = copy.deepcopy(nn.Sequential(own))
    synchronise(twin, torch.device("cpu"))
    images = (100 + rng.normal((6, 3, 4, 4), 0, "images")).bfloat16()
    found, wanted = twin(images), own(images)
    assert found.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(twin[0], name), getattr(own, name))


def test_nested_norms_keep_their_parameters_buffers_and_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)))
    model[1].eval()
    weight, mean = model[1][0].weight, model[1][0].running_mean
    synchronise(model, torch.device("cpu"))
    norm = model[1][0]
    assert norm.weight is weight and norm.running_mean is mean
    assert (norm.eps, norm.momentum, norm.training) == (1e-3, 0.3, False)
