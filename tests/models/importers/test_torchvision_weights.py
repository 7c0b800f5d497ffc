import hashlib
from urllib.error import URLError

import pytest
import torch
import torchvision

from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.models import published_weights, torchvision_weights
from robust_transfer.models.importers import content_sha256, published
from robust_transfer.models.zoo import Published, catalogue


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    return tmp_path / "checkpoints"


def test_without_a_network_the_error_says_where_to_put_the_file(cache):
    with pytest.raises(CheckpointError, match="could not be fetched") as caught:
        torchvision_weights("torchvision:IMAGENET1K_V2", arch="resnet50")
    url = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.url
    assert url in caught.value.what and str(cache / url.rpartition("/")[2]) in caught.value.hints[0]


def test_a_cached_file_is_taken_if_its_hash_is_the_published_one(cache, monkeypatch):
    entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    path = cache / entry.url.rpartition("/")[2]
    cache.mkdir()
    path.write_bytes(b"not the published weights")
    with pytest.raises(CheckpointError, match=r"has sha256 .* \(expected f37072fd"):
        torchvision_weights("torchvision:IMAGENET1K_V1", arch="resnet18")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    renamed = path.with_name(f"resnet18-{digest}.pth")
    path.rename(renamed)

    class Entry:
        url = f"https://example.org/{renamed.name}"

    monkeypatch.setattr(
        torchvision.models, "get_model_weights", lambda arch: type("All", (), {"__members__": {"V": Entry}})
    )
    assert torchvision_weights("torchvision:V", arch="resnet18") == renamed


@pytest.mark.parametrize(
    ("weights", "arch", "message"),
    [
        ("nobody:a1", "resnet50", "expected torchvision:NAME"),
        ("torchvision", "resnet50", "expected torchvision:NAME"),
        ("madrylab:resnet50_l2_eps0.6", "resnet50", "expected torchvision:NAME"),
        ("timm:resnet50d.a9", "resnet50", "timm has no weights 'resnet50d.a9'"),
        ("torchvision:IMAGENET1K_V3", "resnet50", "did you mean 'IMAGENET1K_V"),
        ("torchvision:IMAGENET1K_V1", "resnet18_small", "publishes no weights for resnet18_small"),
    ],
)
def test_unknown_weights_are_named(cache, weights, arch, message):
    with pytest.raises(ConfigError, match=message):
        published_weights(weights, arch=arch)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's own cache as its client lays it out, offline: repository and file -> path."""
    client = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(client.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(client.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def add(repo, file):
        folder = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)
        path = folder / "snapshots" / COMMIT / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        return path

    return add


def test_weights_of_the_hub_are_taken_from_its_cache_offline(hub):
    entry = catalogue()["madrylab:resnet50_l2_eps0.5"]
    file = hub(entry.hub, entry.file)
    assert published_weights(entry.name, arch="resnet50") == file
    folder = hub("timm/resnet50d.ra2_in1k", "model.safetensors").parent
    assert published_weights("timm:resnet50d.ra2_in1k", arch="timm-resnet50d") == folder
    file = hub("a/b", "c.pt")
    assert published_weights("hf:a/b/c.pt", arch="resnet50") == file


def test_what_no_cache_has_says_how_it_gets_there(hub):
    with pytest.raises(CheckpointError, match="a/b could not be fetched") as caught:
        published_weights("hf:a/b", arch="resnet50")
    assert "hf download a/b; HF_HOME names the cache" in caught.value.hints[0]


def test_a_file_with_another_sha256_than_the_catalogues_is_refused(hub, monkeypatch):
    path = hub("a/b", "c.pt")
    values = {"name": "x:y", "hub": "a/b", "file": "c.pt", "arch": "resnet50"}
    entry = Published(**values, trained="", threat="", licence="", sha256=content_sha256(path))
    monkeypatch.setattr(published, "catalogue", lambda: {"x:y": entry})
    assert published_weights("x:y", arch="resnet50") == path
    path.write_bytes(b"other")
    with pytest.raises(CheckpointError, match="another sha256 than x:y"):
        published_weights("x:y", arch="resnet50")
