import json

import pytest
import safetensors.torch
import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import import_checkpoint

SMALL = {"arch": "resnet18_small", "width": 8, "image_size": 32}


@pytest.fixture
def tensors(network):
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("fc.")}


def test_what_can_be_neither_read_nor_inferred_must_be_given(tensors, tmp_path):
    torch.save(tensors, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"neither read nor inferred(.|\n)*pretrain.normalize="):
        import_checkpoint(tmp_path / "file", **SMALL)
    model, report = import_checkpoint(tmp_path / "file", **SMALL, normalize="cifar")
    assert model.std == [0.2023, 0.1994, 0.2010] and report.normalization_source == "given cifar"


@pytest.mark.parametrize("classes", [10, 37, 1000])
@pytest.mark.parametrize("prefix", ["", "1.module."])
def test_a_head_of_a_thousand_classes_tells_imagenet_and_no_other_does(tensors, tmp_path, classes, prefix):
    head = {"fc.weight": torch.zeros(classes, 64), "fc.bias": torch.zeros(classes)}
    torch.save({"state_dict": {prefix + k: v for k, v in {**tensors, **head}.items()}}, tmp_path / "file")
    if classes == 1000:
        model, report = import_checkpoint(tmp_path / "file", **SMALL)
        assert model.mean == [0.485, 0.456, 0.406]
        assert report.normalization_source == "inferred from the format: imagenet"
    else:
        with pytest.raises(CheckpointError, match="neither read nor inferred"):
            import_checkpoint(tmp_path / "file", **SMALL)


def test_what_is_given_wins_over_the_file_and_the_report_says_so(tensors, tmp_path):
    buffers = {
        "normalize.mean": torch.full((1, 3, 1, 1), 0.5),
        "normalize.std": torch.full((1, 3, 1, 1), 0.25),
    }
    torch.save({**buffers, **{f"model.{k}": v for k, v in tensors.items()}}, tmp_path / "file")
    model, report = import_checkpoint(tmp_path / "file", **SMALL)
    assert (model.mean, model.std) == ([0.5] * 3, [0.25] * 3)
    model, report = import_checkpoint(tmp_path / "file", **SMALL, normalize="none")
    assert model.std == [1.0] * 3
    assert (
        report.normalization_source == "given none; the file says mean [0.5, 0.5, 0.5] std [0.25, 0.25, 0.25]"
    )


def test_timms_config_beside_the_file_is_read(tensors, tmp_path):
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    _, before = import_checkpoint(tmp_path / "model.safetensors", **SMALL)
    assert before.normalization_source == "inferred from the format: imagenet" and before.warnings
    config = {
        "architecture": "resnet18",
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.75]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, report = import_checkpoint(tmp_path / "model.safetensors", **SMALL)
    assert (model.mean, model.std) == (config["pretrained_cfg"]["mean"], config["pretrained_cfg"]["std"])
    assert "config.json" in report.normalization_source and not report.warnings


def test_a_file_with_an_impossible_normalisation_is_refused(tensors, tmp_path):
    buffers = {"normalize.mean": torch.zeros(1, 3, 1, 1), "normalize.std": torch.zeros(1, 3, 1, 1)}
    torch.save({**buffers, **{f"model.{k}": v for k, v in tensors.items()}}, tmp_path / "file")
    with pytest.raises(CheckpointError, match="neither read nor inferred"):
        import_checkpoint(tmp_path / "file", **SMALL)
