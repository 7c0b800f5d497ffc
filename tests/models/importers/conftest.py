"""Weights to import: every tensor differs from every other and from a fresh network's."""

import pytest
import torch

from robust_transfer.core import rng
from robust_transfer.models import backbone


def distinct_weights(network):
    """Fill all floating-point tensors with keyed noise; variances stay positive."""
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        if tensor.is_floating_point():
            noise = rng.normal(tensor.shape, 0, "test-weights", number)
            tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.1 * noise)
        else:
            tensor.fill_(number)
    return network.eval()


@pytest.fixture(scope="session")
def network():
    """resnet18_small of width 8 with 1000 classes."""
    return distinct_weights(backbone("resnet18_small", 1000, 8))


@pytest.fixture(scope="session")
def resnet50():
    return distinct_weights(backbone("resnet50", 1000))


@pytest.fixture
def images():
    return torch.rand((2, 3, 32, 32), generator=rng.generator(0, "test-images"))
