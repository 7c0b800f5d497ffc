import hashlib
from urllib.error import URLError

import pytest
import torch
import torchvision

from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.models import torchvision_weights


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
        ("timm:a1", "resnet50", "expected torchvision:NAME"),
        ("torchvision", "resnet50", "expected torchvision:NAME"),
        ("torchvision:IMAGENET1K_V3", "resnet50", "did you mean 'IMAGENET1K_V"),
        ("torchvision:IMAGENET1K_V1", "resnet18_small", "publishes no weights for resnet18_small"),
    ],
)
def test_unknown_weights_are_named(cache, weights, arch, message):
    with pytest.raises(ConfigError, match=message):
        torchvision_weights(weights, arch=arch)
