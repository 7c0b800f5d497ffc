"""Export a model: weights that torchvision loads without this package, and a card beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.core.files import atomic_path, write_text
from robust_transfer.models.card import model_card
from robust_transfer.models.checkpoint import load_model, save_model
from robust_transfer.models.metadata import read_metadata


def finished_model(stage_dir_or_model_file: str | Path) -> Path:
    """Return the file of a stage's model; a file as it is.

    Raises
    ------
    CheckpointError : the directory holds none
    """
    origin = Path(stage_dir_or_model_file)
    if not origin.is_dir():
        return origin
    if not (origin / "model.safetensors").is_file():
        raise CheckpointError(f"{origin} has no model.safetensors (expected a finished stage)")
    return origin / "model.safetensors"


def export_model(
    stage_dir_or_model_file: str | Path,
    to: str | Path,
    *,
    plain: bool = False,
    details: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a finished model to `to`, and a model card beside it if `details` are given.

    Parameters
    ----------
    stage_dir_or_model_file : a stage's directory, or its model.safetensors
    plain : False: safetensors with torchvision's keys and the [0, 1] contract in its metadata; True: a
        state_dict by torch.save for torch.load(weights_only=True), without a normalisation of its own
    details : for `model_card`; the file's own metadata are added

    Returns
    -------
    The files written

    Raises
    ------
    CheckpointError : no model there, or it is not whole
    """
    origin, target = finished_model(stage_dir_or_model_file), Path(to)
    model = load_model(origin)
    if target.is_dir():
        raise CheckpointError(
            f"{target} is a directory (expected a file name)", f"--to {target / origin.name}"
        )
    if origin.resolve() == target.resolve():
        raise CheckpointError(f"{target} is the stage's own file (expected another name)")
    target.parent.mkdir(parents=True, exist_ok=True)
    metadata = read_metadata(origin)
    if plain:
        with atomic_path(target) as temporary:
            torch.save(dict(model.backbone.state_dict()), temporary)
    else:
        save_model(target, model, key=metadata["key"])
    if details is None:
        return [target]
    card = target.with_suffix(".md")
    write_text(card, model_card({**metadata, "file": target.name, "plain": plain, **details}))
    return [target, card]
