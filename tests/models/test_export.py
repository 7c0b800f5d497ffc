import pytest
import safetensors.torch
import torch
import torchvision

from robust_transfer.core import rng
from robust_transfer.core.errors import CheckpointError
from robust_transfer.models import build_model, export_model, load_model, save_model

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    model = build_model(
        "resnet18", num_classes=3, class_names=["a", "b", "c"], image_size=32, normalize=[MEAN, STD], seed=0
    )
    model.train_sigma = 0.5
    directory = tmp_path_factory.mktemp("stage")
    save_model(directory / "model.safetensors", model, key="0123456789ab")
    return directory


@pytest.mark.parametrize("plain", [False, True])
def test_the_export_gives_the_same_logits_in_plain_torchvision(stage, tmp_path, plain):
    (written,) = export_model(stage, tmp_path / "out" / "weights", plain=plain)
    state = torch.load(written, weights_only=True) if plain else safetensors.torch.load_file(written)
    network = torchvision.models.resnet18(num_classes=3).eval()
    network.load_state_dict(state)
    images = torch.rand((2, 3, 32, 32), generator=rng.generator(0, "test"))
    with torch.no_grad():
        logits = network(torchvision.transforms.Normalize(MEAN, STD)(images))
        assert torch.allclose(logits, load_model(stage / "model.safetensors")(images), atol=1e-5)


def test_a_safetensors_export_is_the_stages_model_byte_for_byte(stage, tmp_path):
    export_model(stage / "model.safetensors", tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == (stage / "model.safetensors").read_bytes()


@pytest.mark.parametrize("plain", [False, True])
def test_the_code_on_the_card_loads_the_export(stage, tmp_path, monkeypatch, plain):
    written, card = export_model(stage, tmp_path / "weights.bin", plain=plain, details={"title": "T"})
    assert card == tmp_path / "weights.md" and card.read_text().startswith("# T\n")
    monkeypatch.chdir(written.parent)
    code = card.read_text().split("```python\n")[1].split("```")[0]
    images = torch.rand((1, 3, 32, 32), generator=rng.generator(0, "test"))
    names = {"torch": torch, "torchvision": torchvision, "safetensors": safetensors, "images": images}
    with torch.no_grad():
        exec(code, names)
        assert torch.allclose(names["logits"], load_model(stage / "model.safetensors")(images), atol=1e-5)


def test_where_there_is_no_model_or_no_file_to_write_it_says_so(stage, tmp_path):
    with pytest.raises(CheckpointError, match=r"has no model.safetensors \(expected a finished stage\)"):
        export_model(tmp_path, tmp_path / "out")
    with pytest.raises(CheckpointError, match="is a directory"):
        export_model(stage, tmp_path)
    with pytest.raises(CheckpointError, match="is the stage's own file"):
        export_model(stage, stage / "model.safetensors")
