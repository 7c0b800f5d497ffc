import hashlib
from urllib.error import URLError

import pytest
import torch
import torchvision

from hub_server import hub_server
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.data import catalogue as datasets
from robust_transfer.models import num_features, published_weights, torchvision_weights
from robust_transfer.models.importers import content_sha256, published, published_accuracy
from robust_transfer.models.normalized import resolve_normalize
from robust_transfer.models.zoo import Published, catalogue, own_normalize


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


def served(monkeypatch, folder, address):
    """Point the hub's client at an address, as HF_ENDPOINT does, with a cache of its own."""
    client = pytest.importorskip("huggingface_hub")
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    values = {"ENDPOINT": address, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
    for name, value in {**values, "HF_HUB_CACHE": str(folder / "cache")}.items():
        monkeypatch.setattr(client.constants, name, value)
    return client


def test_weights_come_from_a_hub_once_and_then_from_the_cache_offline(tmp_path, monkeypatch):
    files = {"model.safetensors": b"weights", "config.json": b"{}", "README.md": b"words"}
    entry = catalogue()["madrylab:resnet50_l2_eps0.5"]
    with hub_server({"o/net": files, entry.hub: {entry.file: b"robust"}}) as (address, requests):
        client = served(monkeypatch, tmp_path, address)
        folder = published_weights("hf:o/net", arch="resnet50")
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
        file = published_weights("hf:o/net/model.safetensors", arch="resnet50")
        assert file.read_bytes() == b"weights"
        assert published_weights(entry.name, arch="resnet50").read_bytes() == b"robust"
        fetched = [path for method, path in requests if method == "GET" and "/resolve/" in path]
        assert len(fetched) == len(set(fetched)) == 3  # no README, nothing twice
        for absent in ("hf:o/net/other.pt", "hf:o/other"):
            with pytest.raises(CheckpointError, match="could not be fetched from the Hugging Face hub") as no:
                published_weights(absent, arch="resnet50")
            assert "\n" not in no.value.what and "hf download" in no.value.hints[0]
        monkeypatch.setattr(client.constants, "HF_HUB_OFFLINE", True)
        requests.clear()
        assert published_weights("hf:o/net", arch="resnet50") == folder
        assert published_weights(entry.name, arch="resnet50").read_bytes() == b"robust"
        assert requests == []


def test_what_robustbench_fetched_is_taken_by_name_with_its_statistics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, arch = "robustbench:L2/Rice2020Overfitting", "preactresnet18_v2"
    place = r"models/cifar10/L2/Rice2020Overfitting\.pt; its address: https"
    with pytest.raises(CheckpointError, match=place) as no:
        published_weights(name, arch=arch)
    assert "load_model('Rice2020Overfitting', dataset='cifar10', threat_model='L2')" in no.value.hints[0]
    with pytest.raises(ConfigError, match="is a preactresnet18_v2") as no:
        published_weights(name, arch="resnet50")
    assert no.value.hints == ("model=preactresnet18_v2",)
    file = tmp_path / "models/cifar10/L2/Rice2020Overfitting.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert published_weights(name, arch=arch).resolve() == file
    assert (own_normalize(name), own_normalize("hf:a/b"), own_normalize(None)) == ("cifar", None, None)
    assert published_accuracy(name, arch=arch) == ("cifar10", 88.67)
    assert published_accuracy("robustbench:L2/Sehwag2021Proxy_R18", arch="resnet18_small") is None


def test_every_entry_of_the_catalogue_is_of_a_network_and_a_set_that_are_here():
    for entry in catalogue().values():
        assert num_features(entry.arch, 64) > 0 and datasets.get(entry.dataset).num_classes
        assert bool(entry.hub) != entry.file.startswith("models/")
        assert entry.accuracy is None or 40 < entry.accuracy < 100
        if entry.normalize is not None:
            resolve_normalize(entry.normalize)
    accuracy = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    published = published_accuracy("torchvision:IMAGENET1K_V2", arch="resnet50")
    assert published == ("imagenet", accuracy)
