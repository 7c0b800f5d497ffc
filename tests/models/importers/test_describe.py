import hashlib

import pytest
import torch
import torchvision

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import build_model, describe_file, save_model


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


def test_a_network_that_cannot_be_built_is_refused(tmp_path):
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "file")
    with pytest.raises(CheckpointError, match="holds none of resnet18, resnet18_small, resnet50"):
        describe_file(tmp_path / "file")
