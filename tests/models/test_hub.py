import json

import pytest
import torch
import torchvision

from robust_transfer.core import rng
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.models import build_model, describe_file, load_model, save_model
from robust_transfer.models.hub import export_folder, push_folder
from robust_transfer.models.onnx_export import export_onnx

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
VALUES = {"class_names": ["a", "b", "c"], "image_size": 32, "normalize": [MEAN, STD], "seed": 0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_model("resnet18", num_classes=3, **VALUES), key="0123456789ab")
    return path


@pytest.fixture
def images():
    return torch.rand((2, 3, 32, 32), generator=rng.generator(0, "hub"))


def test_timm_loads_an_exported_folder_and_it_says_what_it_is(saved, images, tmp_path):
    timm = pytest.importorskip("timm")
    results = {"evaluator": "certify", "metric": "sa", "value": 0.5, "interval": [0.4, 0.6]}
    row = {**results, "num_images": 9, "settings": "sigma 0.5", "key": "fedcba987654"}
    details = {"title": "T", "data": "D1", "threat_model": "L2 0.5", "results": [row]}
    files = export_folder(saved, tmp_path / "out", details=details, for_timm=True)
    assert [file.name for file in files] == ["model.safetensors", "config.json", "README.md"]
    card = files[2].read_text()
    assert card.startswith("---\npipeline_tag: image-classification\nlibrary_name: timm\n")
    assert all(text in card for text in ("D1", "L2 0.5", "0.4 to 0.6", "fedcba987654", "0123456789ab"))
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert network.pretrained_cfg["mean"] == MEAN and network.num_classes == 3
    with torch.no_grad():
        actual = network(torchvision.transforms.Normalize(MEAN, STD)(images))
        assert torch.allclose(actual, load_model(saved)(images), atol=1e-5)
    assert describe_file(tmp_path / "out")["image_size"] == 32
    with pytest.raises(CheckpointError, match="not an empty folder"):
        export_folder(saved, tmp_path / "out", details={})


def test_a_network_that_timm_does_not_have_is_a_folder_of_this_package(tmp_path):
    save_model(tmp_path / "file", build_model("resnet18_small", num_classes=3, width=2, **VALUES))
    with pytest.raises(ConfigError, match="timm has no network resnet18_small"):
        export_folder(tmp_path / "file", tmp_path / "out", details={}, for_timm=True)
    files = export_folder(tmp_path / "file", tmp_path / "out", details={})
    assert "library_name: robust-transfer" in files[2].read_text()
    assert json.loads(files[1].read_text())["robust_transfer"]["width"] == 2
    assert describe_file(tmp_path / "out")["num_classes"] == 3


def test_a_folder_is_pushed_by_the_hubs_own_client(saved, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    calls = []

    class Client:
        def create_repo(self, repo, **options):
            calls.append((repo, options))

        def upload_folder(self, **options):
            calls.append(options)
            if options["repo_id"] == "a/refused":
                raise OSError("no login")
            return "address"

    monkeypatch.setattr(hub, "HfApi", Client)
    with pytest.raises(CheckpointError, match="is not an exported folder"):
        push_folder(tmp_path, "a/b")
    export_folder(saved, tmp_path / "out", details={})
    assert push_folder(tmp_path / "out", "a/b", private=True) == "address"
    assert calls == [
        ("a/b", {"private": True, "exist_ok": True}),
        {"folder_path": tmp_path / "out", "repo_id": "a/b"},
    ]
    with pytest.raises(CheckpointError, match=r"not uploaded to a/refused \(no login\)"):
        push_folder(tmp_path / "out", "a/refused")


@pytest.mark.slow
def test_an_onnx_graph_normalises_by_itself_and_one_that_differs_is_not_written(tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = build_model("resnet18_small", num_classes=3, width=2, **{**VALUES, "image_size": 16})
    save_model(tmp_path / "file", model.eval())
    path = export_onnx(tmp_path / "file", tmp_path / "model.onnx")
    images = torch.rand((5, 3, 16, 16), generator=rng.generator(0, "onnx-test"))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (actual,) = session.run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(actual), model(images), atol=1e-4)
    monkeypatch.setattr("robust_transfer.models.onnx_export.TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="computes other logits"):
        export_onnx(tmp_path / "file", tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
