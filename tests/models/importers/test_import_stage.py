import json

import pytest
import torch

from robust_transfer.config.methods import CheckpointConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.models import import_stage, load_model, read_metadata


@pytest.fixture
def configs(tmp_path):
    checkpoint = {"name": "checkpoint", "path": str(tmp_path / "file"), "weights": None, "format": "auto"}
    model = {"arch": "resnet18_small", "width": 8, "image_size": 32, "normalize": "none"}
    return (
        CheckpointConfig(**checkpoint, normalize=[[0.5] * 3, [0.25] * 3], trust=False),
        ModelConfig(**model),
    )


def test_the_stage_holds_the_backbone_and_tells_what_was_done(network, configs, tmp_path, caplog):
    caplog.set_level("INFO", "robust_transfer")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "file")
    metadata = import_stage(tmp_path / "file", tmp_path / "model.safetensors", *configs, key="0123456789ab")
    model = load_model(tmp_path / "model.safetensors")
    expected = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    assert model.backbone.state_dict().keys() == expected.keys()
    assert all(torch.equal(model.backbone.state_dict()[name], tensor) for name, tensor in expected.items())
    assert (model.mean, model.std, model.image_size) == ([0.5] * 3, [0.25] * 3, 32)
    assert read_metadata(tmp_path / "model.safetensors")["key"] == "0123456789ab"
    stored = json.loads(json.dumps(metadata))["import"]
    assert stored["format"] == "torchvision" and stored["head"] == "dropped" and len(stored["matched"]) == 120
    assert "120 of 120 tensors matched; head (1000 classes): dropped" in caplog.text
