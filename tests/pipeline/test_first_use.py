"""Weights with a published accuracy: their head is measured on the test images that are there."""

import torch
from torchvision import transforms

from robust_transfer.config.data import DataConfig
from robust_transfer.config.methods import CheckpointConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.core import rng
from robust_transfer.data import open_dataset
from robust_transfer.models import backbone
from robust_transfer.models.importers import published
from robust_transfer.models.zoo import Published
from robust_transfer.pipeline.first_use import measure_head

MODEL = ModelConfig(arch="resnet18_small", width=4, image_size=8, normalize="none")
CONFIG = CheckpointConfig("checkpoint", None, "x:y", "auto", "none", False)


def claim(monkeypatch, accuracy, dataset="digits"):
    values = {"name": "x:y", "file": "f", "arch": MODEL.arch, "trained": "", "threat": "", "licence": ""}
    entry = Published(**values, dataset=dataset, accuracy=accuracy)
    monkeypatch.setattr(published, "catalogue", lambda: {"x:y": entry})


def test_the_head_is_compared_with_what_is_published(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "robust_transfer")
    with rng.global_state(0, "first-use"):
        network = backbone(MODEL.arch, 10, MODEL.width).eval()
    torch.save(network.state_dict(), tmp_path / "f")
    data = DataConfig(root=str(tmp_path), verify=True, on_error="stop")

    def measured(accuracy, dataset="digits"):
        caplog.clear()
        claim(monkeypatch, accuracy, dataset)
        return measure_head(tmp_path / "f", CONFIG, MODEL, data, device="cpu").get("head")

    as_by_custom = transforms.Compose(
        [transforms.Resize(9), transforms.CenterCrop(8), transforms.ToTensor()]  # 8 * 256 / 224
    )
    images = open_dataset("digits", tmp_path, "test")
    chosen = [round(i * (len(images) - 1) / 99) for i in range(100)]
    with torch.no_grad():
        shown = torch.stack([as_by_custom(images[i][0]) for i in chosen])
        right = int((network(shown).argmax(1) == torch.tensor([images[i][1] for i in chosen])).sum())
    head = measured(float(right))
    assert (head["correct"], head["images"], head["published"]) == (right, 100, right / 100)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert measured(95.0)["correct"] == right
    assert "95.00 % is published: other weights, statistics" in caplog.text
    assert measured(50.0, "cifar10") is None and "not measured (50.00 % of cifar10" in caplog.text
    assert measured(50.0, "textures") is None and "3 of its 10 classes" in caplog.text
    assert measured(None) is None and not caplog.records
