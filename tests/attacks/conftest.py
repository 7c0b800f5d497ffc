"""Tiny classifiers and images that the tests of attacks share."""

import pytest
import torch
from torch import nn

from robust_transfer.core import rng

NUM_CLASSES = 6


@pytest.fixture(scope="session")
def images():
    # Seeds of torch itself, here and below: the tests were written for these images and margins.
    return torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(rng.key(0, "test_images")))


@pytest.fixture
def model():
    """An untrained network with BatchNorm, in eval mode, whose margins are of the size an attack moves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(0, "test_model"))
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, NUM_CLASSES),
        )
        net(torch.rand(64, 3, 8, 8))
    return net.eval()


@pytest.fixture
def labels(model, images):
    """The model's own predictions, every seventh one wrong."""
    with torch.no_grad():
        predictions = model(images).argmax(1)
    predictions[::7] = (predictions[::7] + 1) % NUM_CLASSES
    return predictions
