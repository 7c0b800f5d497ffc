import pytest
import torch
import torchvision

from robust_transfer.config.model import CIFAR_RESNETS, TORCHVISION
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import backbone
from robust_transfer.models.importers.detect import FORMATS
from robust_transfer.models.importers.match import identify, map_keys

ZERO = torch.zeros(1)


@pytest.mark.parametrize("arch", [*TORCHVISION, "vgg11", "mnasnet1_0"])
def test_architectures_are_known_by_names_and_shapes(arch):
    with torch.device("meta"):
        state = torchvision.models.get_model(arch, weights=None).state_dict()
    assert identify(state) == ((arch, 64) if arch in TORCHVISION else None)


@pytest.mark.parametrize("arch", CIFAR_RESNETS)
def test_cifar_networks_are_known_by_their_depth_and_shortcuts(arch):
    with torch.device("meta"):
        assert identify(backbone(arch, 0).state_dict()) == (arch, 64)


def test_the_small_networks_width_is_read_off_its_stem():
    assert identify(backbone("resnet18_small", 0, 4).state_dict()) == ("resnet18_small", 4)


def test_keys_are_sorted_into_backbone_head_and_the_rest():
    keys = ["module.model.conv1.weight", "module.model.fc.bias", "module.attacker.model.conv1.weight", "x"]
    mapped = map_keys({key: ZERO for key in keys}, FORMATS["robustness"], "FILE")
    assert list(mapped.backbone) == ["conv1.weight"] and list(mapped.head) == ["bias"]
    assert mapped.outside == keys[2:] and mapped.stripped == ["module.model."] and not mapped.renamed


def test_a_prefix_is_removed_as_a_whole():
    # str.lstrip("backbone.") would eat the b, n of bn1 as well.
    keys = {"backbone.bn1.weight": ZERO, "backbone.conv1.weight": ZERO}
    assert set(map_keys(keys, FORMATS["lightly"], "FILE").backbone) == {"bn1.weight", "conv1.weight"}


def test_two_tensors_for_one_name_are_refused():
    keys = {"model.conv1.weight": ZERO, "net.conv1.weight": ZERO}
    with pytest.raises(CheckpointError, match=r"both model.conv1.weight and net.conv1.weight"):
        map_keys(keys, FORMATS["torchvision"], "FILE")


def test_a_declared_format_that_does_not_fit_is_refused():
    with pytest.raises(CheckpointError, match=r"has no ResNet where moco keeps it \(found conv1.weight\)"):
        map_keys({"conv1.weight": ZERO}, FORMATS["moco"], "FILE")
