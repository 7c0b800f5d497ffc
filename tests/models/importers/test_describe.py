import hashlib

import pytest
import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import backbone, build_model, describe_file, save_model


def test_a_foreign_file_is_described_by_its_content(network, tmp_path):
    torch.save({"state_dict": network.state_dict()}, tmp_path / "file")
    metadata = describe_file(tmp_path / "file")
    assert metadata["sha256"] == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    expected = {"format": "torchvision", "arch": "resnet18_small", "width": 8, "num_classes": 1000}
    assert expected.items() <= metadata.items()
    assert metadata["mean"] == [0.485, 0.456, 0.406] and metadata["train_sigma"] is None
    assert describe_file(tmp_path / "file", format="simclr")["std"] == [1.0, 1.0, 1.0]


def test_our_own_file_says_what_it_is(tmp_path):
    model = build_model(
        "resnet18_small", num_classes=2, class_names=["a", "b"], image_size=16, width=2, seed=0
    )
    model.train_sigma = 0.25
    save_model(tmp_path / "file", model)
    metadata = describe_file(tmp_path / "file")
    assert describe_file(tmp_path / "file", arch="resnet18_small", width=2) == metadata
    with pytest.raises(
        CheckpointError, match="holds resnet18_small of width 2, expected resnet50 of width 64"
    ):
        describe_file(tmp_path / "file", arch="resnet50")
    expected = {"format": "robust-transfer", "arch": "resnet18_small", "width": 2, "num_classes": 2}
    assert {**expected, "train_sigma": 0.25, "image_size": 16}.items() <= metadata.items()


def test_what_could_not_be_imported_is_refused_already_here(network, tmp_path):
    state = network.state_dict()
    torch.save(state, tmp_path / "file")
    with pytest.raises(
        CheckpointError, match=r"looks like resnet18_small: model=resnet18_small model.width=8"
    ):
        describe_file(tmp_path / "file", arch="resnet18")
    state.pop("layer1.0.conv1.weight")
    torch.save(state, tmp_path / "file")
    with pytest.raises(CheckpointError, match="fits 119 of the 120"):
        describe_file(tmp_path / "file")


def test_a_network_that_nobody_names_is_refused_with_the_way_to_name_it(tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        describe_file(tmp_path / "file")
    assert "model=timm model.name=" in caught.value.hints[0]
    metadata = describe_file(tmp_path / "file", arch="timm-test_resnet", normalize="imagenet")
    assert (metadata["num_classes"], metadata["image_size"], metadata["format"]) == (1000, 160, "native")


def test_the_network_and_statistics_of_a_hub_folder_of_timm_are_its_own(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", num_classes=5)
    timm.models.save_for_hf(network, tmp_path, model_config={"num_classes": 5})
    metadata = describe_file(tmp_path)
    assert (metadata["arch"], metadata["num_classes"], metadata["image_size"]) == ("timm-test_vit", 5, 160)
    assert metadata["mean"] == [0.5, 0.5, 0.5] or "config.json" in metadata["normalization_source"]


def test_more_layers_than_the_network_has_are_refused(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", num_classes=5)
    network.blocks.append(network.blocks[0])
    torch.save({"student": network.state_dict()}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"unexpected: blocks.\d+.attn.proj.bias"):
        describe_file(tmp_path / "file", arch="timm-test_vit", normalize="imagenet")
    with pytest.raises(CheckpointError, match=r"not hold the network of model=timm model.name=test_co"):
        describe_file(tmp_path / "file", arch="timm-test_convnext", normalize="imagenet")


def test_a_wide_resnet_is_known_by_its_own_names_below_any_prefix(tmp_path):
    state = {f"module.sub.{k}": t for k, t in backbone("wideresnet16_4", 10).state_dict().items()}
    torch.save({"model_state_dict": state}, tmp_path / "file")
    metadata = describe_file(tmp_path / "file", normalize="none")
    assert (metadata["arch"], metadata["num_classes"], metadata["image_size"]) == ("wideresnet16_4", 10, 32)


def test_pre_activation_networks_have_to_be_named_as_their_files_are_alike(tmp_path):
    state = backbone("preactresnet18", 10).state_dict()
    old = {k.replace("downsample", "shortcut").replace("fc.", "linear."): t for k, t in state.items()}
    torch.save({"state_dict": old}, tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        describe_file(tmp_path / "file", normalize="none")
    assert "model=preactresnet18" in caught.value.hints[0]
    metadata = describe_file(tmp_path / "file", arch="preactresnet18_v2", normalize="none")
    assert (metadata["num_classes"], metadata["native_images"]) == (10, True)
