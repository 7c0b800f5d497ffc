"""A model as the Hugging Face hub keeps it: weights, a config.json in timm's form, a card; and its upload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_transfer.config.model import TIMM, TORCHVISION
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.core.files import write_text
from robust_transfer.models.backbones import head_name, num_features
from robust_transfer.models.card import model_card
from robust_transfer.models.checkpoint import load_model, save_model
from robust_transfer.models.metadata import read_metadata

CARD = "README.md"


def export_folder(
    model_file: str | Path, to: str | Path, *, details: Mapping[str, Any], for_timm: bool = False
) -> list[Path]:
    """Write model.safetensors, config.json and a card to a folder; return the files.

    Networks that timm has under these tensors' names load by `timm.create_model("local-dir:FOLDER",
    pretrained=True)`, and from the hub by "hf-hub:OWNER/NAME"; images are then normalised by the caller.

    Parameters
    ----------
    details : for `model_card`; the file's own metadata are added
    for_timm : refuse a network that timm does not have

    Raises
    ------
    CheckpointError : no model of ours, a folder that holds something else
    ConfigError : timm has no such network, and `for_timm`
    """
    metadata, folder = read_metadata(model_file), Path(to)
    name = timm_name(metadata["arch"])
    if for_timm and name is None:
        raise ConfigError(f"timm has no network {metadata['arch']}", "--format hf writes the same files")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise CheckpointError(f"{folder} is not an empty folder (expected a new one)", "--to NEW")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / file for file in ("model.safetensors", "config.json", CARD)]
    save_model(files[0], load_model(model_file), key=metadata["key"])
    write_text(files[1], json.dumps(_config(metadata), indent=2) + "\n")
    card = model_card({**metadata, "file": files[0].name, "plain": False, **details})
    write_text(files[2], _front_matter(name) + card)
    return files


def timm_name(arch: str) -> str | None:
    """Return what timm calls an architecture whose tensors have the same names there; None: it has none."""
    return arch.removeprefix(TIMM) if arch.startswith(TIMM) or arch in TORCHVISION else None


def _config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json: timm's fields, and below `robust_transfer` what is ours."""
    arch, size = metadata["arch"], metadata["image_size"]
    return {
        "architecture": timm_name(arch) or arch,
        "num_classes": metadata["num_classes"],
        "num_features": num_features(arch, metadata["width"]),
        "label_names": metadata["class_names"],
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 0.875,
            "mean": metadata["mean"],
            "std": metadata["std"],
            "num_classes": metadata["num_classes"],
            "classifier": head_name(arch),
        },
        "robust_transfer": {name: metadata[name] for name in ("arch", "width", "train_sigma", "key")},
    }


def _front_matter(name: str | None) -> str:
    library = "timm" if name else "robust-transfer"
    lines = (
        "pipeline_tag: image-classification",
        f"library_name: {library}",
        "tags: [adversarial-robustness]",
    )
    return "\n".join(["---", *lines, "---", ""]) + "\n"


def push_folder(folder: str | Path, repo: str, *, private: bool = False) -> str:
    """Upload an exported folder by the hub's own client, with the login that it has; return its address.

    Raises
    ------
    CheckpointError : no exported folder, or the hub refused
    ConfigError : huggingface_hub is not installed
    """
    folder = Path(folder)
    if not (folder / CARD).is_file() or not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is not an exported folder (expected {CARD}, config.json)",
            f"rt-report export KEY --format hf --to {folder}",
        )
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise ConfigError(
            "push needs the package huggingface_hub", "pip install robust-transfer[hub]"
        ) from None
    client = huggingface_hub.HfApi()
    try:
        client.create_repo(repo, private=private, exist_ok=True)
        return str(client.upload_folder(folder_path=folder, repo_id=repo))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder} was not uploaded to {repo} ({reason})", "hf auth login") from None
