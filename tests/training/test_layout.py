"""Training keeps to channels last, and leaves it where a CPU kernel of torch is known to break the heap."""

import pytest
import torch

from robust_transfer.models import build_model
from robust_transfer.training.layout import memory_layout


def network(width):
    names = ["a", "b"]
    return build_model(
        "resnet18_small",
        num_classes=2,
        class_names=names,
        image_size=8,
        width=width,
        normalize="none",
        seed=0,
    )


@pytest.mark.parametrize(
    ("width", "device", "expected"),
    [
        (4, "cpu", torch.contiguous_format),
        (7, "cpu", torch.contiguous_format),
        (8, "cpu", torch.channels_last),
        (4, "cuda", torch.channels_last),
    ],
)
def test_narrow_networks_are_not_trained_in_channels_last_on_a_cpu(width, device, expected):
    assert memory_layout(network(width), torch.device(device), channels_last=True) == expected


def test_without_the_switch_the_layout_is_contiguous():
    assert memory_layout(network(8), torch.device("cuda"), channels_last=False) == torch.contiguous_format
