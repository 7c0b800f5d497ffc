"""The CIFAR networks against their published sizes, and their equations by functions alone."""

import pytest
import torch
import torch.nn.functional as F

from robust_transfer.core import rng
from robust_transfer.models import backbone

# torch.nn counts, as published: 0.27, 1.7 million (He et al. 2016), 36.5 million (Zagoruyko & Komodakis 2016)
SIZES = {
    "cifar_resnet20_a": 269_722,
    "cifar_resnet110_a": 1_727_962,
    "cifar_resnet110": 1_730_714,
    "wideresnet28_10": 36_479_194,
    "preactresnet18": 11_172_170,
}


@pytest.mark.parametrize("arch", SIZES)
def test_numbers_of_parameters_are_the_published_ones(arch):
    with torch.device("meta"):
        assert sum(p.numel() for p in backbone(arch, 10).parameters()) == SIZES[arch]


def batchnorm(state, name, x):
    values = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values)


def convolve(state, name, x, stride=1):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)


def pre_activation(state, blocks, last, shortcut, images, *, activated):
    """He et al. 2016 (1603.05027), figure 4e: BatchNorm and ReLU before each convolution."""
    x = convolve(state, "conv1", images)
    for name, stride in blocks:
        before = F.relu(batchnorm(state, f"{name}.bn1", x))
        inner = F.relu(batchnorm(state, f"{name}.bn2", convolve(state, f"{name}.conv1", before, stride)))
        kept = x
        if f"{name}.{shortcut}.weight" in state:
            kept = convolve(state, f"{name}.{shortcut}", before if activated else x, stride)
        x = kept + convolve(state, f"{name}.conv2", inner)
    features = F.relu(batchnorm(state, last, x)).mean((2, 3))
    return F.linear(features, state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("arch", ["wideresnet16_4", "preactresnet18", "preactresnet18_v2"])
def test_pre_activation_networks_are_their_equations(arch):
    with rng.global_state(0, "equations"):
        network = backbone(arch, 10).double().eval()
        for name, tensor in network.state_dict().items():
            if "bn" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    images = torch.rand((2, 3, 8, 8), generator=rng.generator(0, "cifar"), dtype=torch.float64)
    wide = arch.startswith("wide")
    stage, count = ("block{}.layer.{}", 3) if wide else ("layer{}.{}", 4)
    blocks = [(stage.format(i, j), 2 if i > 1 and j == 0 else 1) for i in range(1, count + 1) for j in (0, 1)]
    state = network.state_dict()
    last, shortcut = ("bn1", "convShortcut") if wide else ("bn", "downsample.0")
    expected = pre_activation(state, blocks, last, shortcut, images, activated=arch != "preactresnet18")
    with torch.no_grad():
        assert torch.allclose(network(images), expected)
