import pytest
import torch
from torch import nn
from torchvision.transforms import Normalize

from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.models import build_model, replace_head
from robust_transfer.models.normalized import NORMALIZATIONS

SMALL = {"num_classes": 3, "class_names": ["a", "b", "c"], "image_size": 16, "width": 2}


@pytest.mark.parametrize("normalize", [*NORMALIZATIONS, [[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]]])
def test_first_layer_is_torchvisions_normalize(normalize):
    model = build_model("resnet18_small", **SMALL, normalize=normalize, seed=0).eval()
    images = torch.rand((2, 3, 16, 16), generator=rng.generator(0, "test"))
    with torch.no_grad():
        expected = model.backbone(Normalize(model.mean, model.std)(images))
        assert torch.allclose(model(images), expected, atol=1e-6)


def test_no_normalisation_leaves_images_bit_equal():
    model = build_model("resnet18_small", **SMALL, normalize="none", seed=0)
    images = torch.rand((2, 3, 16, 16), generator=rng.generator(0, "test"))
    assert torch.equal(model.normalize(images), images)


def test_state_dict_holds_the_backbone_only():
    model = build_model("resnet18_small", **SMALL, seed=0)
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone"}
    assert model.normalize.mean.dtype == torch.float32


def test_weights_depend_on_the_seed_alone():
    first, again, other = (build_model("resnet18_small", **SMALL, seed=seed) for seed in (1, 1, 2))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    name = "backbone.conv1.weight"
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    replace_head(build_model("resnet18_small", **SMALL, seed=1), num_classes=2, class_names="xy", seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_new_head_depends_on_the_seed_alone_and_leaves_the_backbone():
    heads = []
    for model_seed, head_seed in ((1, 7), (2, 7), (1, 8)):
        model = build_model("resnet18_small", **SMALL, seed=model_seed)
        before = model.backbone.conv1.weight.clone()
        replaced = replace_head(model, num_classes=5, class_names=list("vwxyz"), seed=head_seed)
        assert replaced is model and torch.equal(before, model.backbone.conv1.weight)
        assert (model.num_classes, model.class_names) == (5, list("vwxyz"))
        heads.append(model.backbone.fc)
    with rng.global_state(7, "head"):
        expected = nn.Linear(16, 5)
    assert torch.equal(heads[0].weight, expected.weight) and torch.equal(heads[0].bias, expected.bias)
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)


def test_features_can_be_given_a_head():
    model = build_model("resnet18_small", num_classes=0, class_names=[], image_size=16, width=2, seed=0)
    images = torch.zeros(2, 3, 16, 16)
    assert model(images).shape == (2, 16)
    assert replace_head(model, num_classes=4, class_names=list("abcd"), seed=0)(images).shape == (2, 4)


@pytest.mark.parametrize(
    "normalize",
    ["imagnet", [[0, 0, 0]], [[0, 0], [1, 1]], [[0, 0, 0], [1, 0, 1]], [[0, 0, float("nan")], [1] * 3]],
)
def test_what_is_no_normalisation_is_refused(normalize):
    with pytest.raises(ConfigError, match="is not a normalisation"):
        build_model("resnet18_small", **SMALL, normalize=normalize, seed=0)
