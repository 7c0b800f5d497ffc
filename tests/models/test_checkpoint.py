import json
import struct
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from robust_transfer.core import rng
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import build_model, load_model, read_metadata, save_model
from robust_transfer.models.checkpoint import to_bytes


@pytest.fixture
def model():
    built = build_model(
        "resnet18_small",
        num_classes=3,
        class_names=["cat", "dög", 'a "b", c'],
        image_size=16,
        width=4,
        normalize=[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]],
        seed=0,
    )
    built.train_sigma = 0.25
    return built.eval()


@pytest.fixture
def saved(model, tmp_path):
    save_model(tmp_path / "model.safetensors", model, key="0123456789ab")
    return tmp_path / "model.safetensors"


def rewrite(path, change):
    """Write the file again after `change(tensors, metadata)`."""
    with safetensors.safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors, metadata)
    path.write_bytes(to_bytes(tensors, metadata))


def test_read_back_is_equal_in_weights_metadata_and_logits(model, saved):
    loaded = load_model(saved)
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    for fact in ("arch", "width", "num_classes", "class_names", "image_size", "mean", "std", "train_sigma"):
        assert getattr(loaded, fact) == getattr(model, fact)
    images = torch.rand((2, 3, 16, 16), generator=rng.generator(0, "test"))
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_the_library_reads_the_file_and_finds_torchvisions_keys(model, saved):
    tensors = safetensors.torch.load_file(saved)
    assert tensors.keys() == model.backbone.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.backbone.state_dict().items())
    with safetensors.safe_open(saved, "pt") as file:
        metadata = file.metadata()
    assert metadata["key"] == "0123456789ab" and metadata["train_sigma"] == "0.25"
    assert json.loads(metadata["class_names"]) == model.class_names
    assert json.loads(metadata["mean"]) == [0.1, 0.2, 0.3]


@pytest.mark.slow
def test_equal_models_give_equal_bytes_in_another_process(tmp_path):
    script = (
        "import sys; from robust_transfer.models import build_model, save_model;"
        "save_model(sys.argv[1], build_model('resnet18_small', num_classes=2, class_names=['a', 'b'],"
        " image_size=8, width=1, seed=3))"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "there"], check=True)
    net = build_model("resnet18_small", num_classes=2, class_names=["a", "b"], image_size=8, width=1, seed=3)
    save_model(tmp_path / "here", net)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_memory_format_does_not_change_the_bytes(model, saved, tmp_path):
    save_model(tmp_path / "other", model.to(memory_format=torch.channels_last), key="0123456789ab")
    assert (tmp_path / "other").read_bytes() == saved.read_bytes()


def test_unknown_sigma_and_no_classes_read_back(tmp_path):
    model = build_model("resnet18_small", num_classes=0, class_names=[], image_size=8, width=1, seed=0)
    save_model(tmp_path / "features", model)
    assert load_model(tmp_path / "features")(torch.zeros(1, 3, 8, 8)).shape == (1, 8)
    metadata = read_metadata(tmp_path / "features")
    assert metadata["train_sigma"] is None and metadata["num_classes"] == 0 and metadata["key"] == ""


def test_truncated_anywhere_it_is_refused(saved, tmp_path):
    whole = saved.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    for size in (0, 4, 9, 8 + header // 2, 8 + header, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            load_model(tmp_path / "cut")


def test_renamed_tensor_is_refused(saved):
    rewrite(
        saved,
        lambda tensors, _: tensors.update({"layer1.0.konv1.weight": tensors.pop("layer1.0.conv1.weight")}),
    )
    with pytest.raises(CheckpointError, match=r"1 missing tensors: layer1.0.conv1.weight"):
        load_model(saved)


def test_additional_tensor_is_refused(saved):
    rewrite(saved, lambda tensors, _: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(CheckpointError, match="1 unexpected tensors: extra"):
        load_model(saved)


def test_other_shape_is_refused(saved):
    rewrite(saved, lambda tensors, _: tensors.update({"fc.bias": torch.zeros(4)}))
    with pytest.raises(CheckpointError, match=r"fc.bias has shape \(4,\), expected \(3,\)"):
        load_model(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(saved, value):
    rewrite(saved, lambda tensors, _: tensors["bn1.running_var"].__setitem__(0, value))
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in bn1.running_var"):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "vit"}, "model.arch='vit' is unknown"),
        ({"format_version": "2"}, r"format version 2 \(expected at most 1\)"),
        ({"mean": "[0.1]"}, "broken metadata"),
        ({"image_size": "large"}, "broken metadata"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(saved, change, message):
    rewrite(saved, lambda _, metadata: metadata.update(change))
    with pytest.raises(CheckpointError, match=message):
        load_model(saved)


def test_a_foreign_file_is_sent_to_the_importers(tmp_path):
    safetensors.torch.save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match=r"pretrain=checkpoint pretrain.path=FILE"):
        load_model(tmp_path / "foreign")
