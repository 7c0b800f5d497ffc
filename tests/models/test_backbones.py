import re
import sys
import types
from importlib.metadata import EntryPoint

import pytest
import torch
import torchvision
from torch import nn

from robust_transfer.config import model as config_model
from robust_transfer.config.model import backbones
from robust_transfer.core import extensions, rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.models.backbones import backbone, num_features


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_small_network_is_torchvisions_resnet18_with_another_stem():
    with rng.global_state(0, "test"):
        ours = backbone("resnet18_small", 5, 64).eval()
    reference = torchvision.models.resnet18(num_classes=5)
    reference.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    reference.maxpool = nn.Identity()
    reference.load_state_dict(ours.state_dict())
    images = rng.normal((2, 3, 16, 16), 0, "test-images")
    with torch.no_grad():
        assert torch.equal(ours(images), reference.eval()(images))


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_keys_and_shapes_are_torchvisions(arch):
    with torch.device("meta"):
        expected = torchvision.models.get_model(arch, weights=None, num_classes=7)
        assert shapes(backbone(arch, 7)) == shapes(expected)


@pytest.mark.parametrize("width", [1, 8, 16])
def test_small_network_scales_every_channel_by_its_width(width):
    scaled, full = shapes(backbone("resnet18_small", 4, width)), shapes(torchvision.models.resnet18())
    assert scaled.keys() == full.keys()
    assert scaled["layer3.1.conv2.weight"] == (4 * width, 4 * width, 3, 3)
    assert scaled["fc.weight"] == (4, 8 * width)


@pytest.mark.parametrize("arch", [name for name in backbones() if not re.search("101|152|110|70", name)])
def test_without_classes_it_returns_features_of_the_stated_length(arch):
    width = 8 if arch == "resnet18_small" else 64
    with torch.device("meta"):
        network = backbone(arch, 0, width)
        features = network(torch.empty(2, 3, 64, 64))
    assert features.shape == (2, num_features(arch, width))
    assert not any(name.startswith("fc") for name in network.state_dict())


def test_unknown_architectures_and_widths_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        backbone("resnet5O", 10)
    with pytest.raises(ConfigError, match=r"model.width=32 \(expected 64 for resnet18\)"):
        backbone("resnet18", 10, 32)
    with pytest.raises(ConfigError, match="at least 1"):
        backbone("resnet18_small", 10, 0)


def headless(num_classes, width):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, num_classes))


@pytest.fixture
def added(monkeypatch):
    """Let architectures come from another package: name -> builder."""

    def add(**builders):
        entries = [EntryPoint(name, value, config_model.GROUP) for name, value in builders.items()]
        groups = {config_model.GROUP: entries}
        monkeypatch.setattr(extensions, "entry_points", lambda group: groups.get(group, []))
        config_model.backbones.cache_clear()

    yield add
    config_model.backbones.cache_clear()


def test_what_another_package_brings_is_refused_where_it_cannot_be_used(added, monkeypatch):
    added(headless="outside:headless", gone="outside:gone", absent="no_such_module:f")
    monkeypatch.setitem(sys.modules, "outside", types.SimpleNamespace(headless=headless))
    with pytest.raises(ConfigError, match="architecture 'headless' has no linear layer `fc`"):
        backbone("headless", 3)
    for name in ("gone", "absent"):
        with pytest.raises(ConfigError, match=f"the builder of architecture '{name}' cannot be imported"):
            backbone(name, 3)


def test_two_builders_of_one_name_are_refused(added):
    added(resnet18="outside:resnet18")
    with pytest.raises(ConfigError, match="the name 'resnet18' is taken"):
        backbones()
