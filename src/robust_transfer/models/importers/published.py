"""`weights=PROVIDER:NAME`: published weights, fetched once by the publishing libraries, and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision

from robust_transfer.config.model import DEFAULT_WIDTH, chosen_by
from robust_transfer.core.errors import CheckpointError, ConfigError, did_you_mean
from robust_transfer.models.importers.describe import content_sha256
from robust_transfer.models.timm_networks import hub_of
from robust_transfer.models.zoo import Published, catalogue

TORCHVISION = "torchvision"
_ON_HUB = ("*.safetensors", "*.bin", "*.index.json", "config.json", "preprocessor_config.json")


def published_weights(weights: str, *, arch: str) -> Path:
    """Return a file, or a folder of the hub, with published weights; it is fetched where no cache has it.

    Caches, addresses and offline mode are those of torch.hub and huggingface_hub, by their own variables.

    Parameters
    ----------
    weights : torchvision:NAME, timm:NAME.TAG, hf:OWNER/REPO[/FILE], or a name of `models.zoo.catalogue`

    Raises
    ------
    ConfigError : no such provider or name, or the weights are another network's
    CheckpointError : it cannot be fetched, or its sha256 is not the published one
    """
    provider, _, name = weights.partition(":")
    entry = catalogue().get(weights)
    if entry is not None:
        if entry.arch != arch:
            raise ConfigError(
                f"{weights} is a {entry.arch} (expected {arch})", chosen_by(entry.arch, DEFAULT_WIDTH)
            )
        path = _from_hub(entry.hub, entry.file) if entry.hub else _from_library(entry)
        if entry.sha256 and content_sha256(path) != entry.sha256:
            raise CheckpointError(f"{path} has another sha256 than {weights}", "delete it and try again")
        return path
    if provider == TORCHVISION and name:
        return torchvision_weights(weights, arch=arch)
    if provider == "timm" and name:
        return _from_hub(hub_of(name), None)
    if provider == "hf" and name.count("/") >= 1:
        owner, repo, *rest = name.split("/")
        return _from_hub(f"{owner}/{repo}", "/".join(rest) or None)
    forms = "torchvision:NAME, timm:NAME.TAG, hf:OWNER/REPO[/FILE]"
    hint = did_you_mean(weights, catalogue())
    raise ConfigError(f"weights={weights} is not known (expected {forms}, or one of rt-report zoo)", hint)


def _from_library(entry: Published) -> Path:
    """Return the file that RobustBench's own loader has put below the working directory."""
    path = Path(entry.file)
    if not path.is_file():
        address = f"https://drive.google.com/uc?id={entry.drive}" if entry.drive else "not known here"
        _, dataset, threat, _ = path.parts
        call = f"load_model('{path.stem}', dataset='{dataset}', threat_model='{threat}')"
        raise CheckpointError(
            f"{entry.name} is not here (expected {path}; its address: {address})",
            f'RobustBench puts it there: python -c "from robustbench.utils import load_model; {call}"',
        )
    return path


def published_accuracy(weights: str | None, *, arch: str) -> tuple[str, float] | None:
    """Return the test set and the clean accuracy in percent that weights are published with, if known.

    Parameters
    ----------
    weights : as in `published_weights`, which has found them
    """
    entry = catalogue().get(weights or "")
    if entry is not None:
        return None if entry.accuracy is None else (entry.dataset, entry.accuracy)
    if weights and weights.startswith(f"{TORCHVISION}:"):
        metrics = _resolve(weights, arch).meta.get("_metrics", {}).get("ImageNet-1K", {})
        return ("imagenet", metrics["acc@1"]) if "acc@1" in metrics else None
    return None


def _from_hub(repo: str, file: str | None) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        what = "weights on the Hugging Face hub need the package huggingface_hub"
        raise ConfigError(what, "pip install robust-transfer[hub]") from None
    try:
        if file is not None:
            return Path(huggingface_hub.hf_hub_download(repo, file))
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=list(_ON_HUB)))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{repo} could not be fetched from the Hugging Face hub ({reason})",
            f"with a network: hf download {repo}{f' {file}' if file else ''}; HF_HOME names the cache",
        ) from None


def torchvision_weights(weights: str, *, arch: str) -> Path:
    """Return the file of published weights in torch's local cache, fetched there if it is absent.

    Parameters
    ----------
    weights : "torchvision:NAME", NAME being an entry of torchvision's enumeration for `arch`

    Raises
    ------
    ConfigError : another provider, or torchvision has no such weights for `arch`
    CheckpointError : the file cannot be fetched, or its sha256 does not begin as its name says
    """
    entry = _resolve(weights, arch)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    prefix = path.stem.rpartition("-")[2]
    if not path.is_file():
        _fetch(entry.url, path, prefix)
    digest = content_sha256(path)
    if not digest.startswith(prefix):
        raise CheckpointError(
            f"{path} has sha256 {digest[:8]}... (expected {prefix}...)", "delete it and try again"
        )
    return path


def _resolve(weights: str, arch: str) -> Any:
    provider, _, name = weights.partition(":")
    if provider != "torchvision" or not name:
        raise ConfigError(f"weights={weights} is not known (expected torchvision:NAME)")
    try:
        entries = torchvision.models.get_model_weights(arch).__members__
    except ValueError:
        raise ConfigError(f"torchvision publishes no weights for {arch}", "model=resnet50") from None
    if name not in entries:
        raise ConfigError(f"torchvision has no weights '{name}' for {arch}", did_you_mean(name, entries))
    return entries[name]


def _fetch(url: str, path: Path, hash_prefix: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{url} could not be fetched ({error})", f"fetch it where there is a network and put it at {path}"
        ) from None
