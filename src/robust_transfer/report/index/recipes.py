"""The training recipe behind a run, read from its stages' config.yaml: what its seeds must share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from robust_transfer.report.index.collect import Index, Run
from robust_transfer.store.stage_config import read_identity

PARTS = ("recipe", "augment", "batchnorm_devices")


def finetune_recipe(index: Index, run: Run) -> dict[str, Any]:
    """Return the fine-tuning's settings without its seed, {} where its stage is not in the store."""
    return _recipe_of(index, run.lineage.finetune_key)


def pretrain_recipe(index: Index, run: Run) -> dict[str, Any]:
    """Return the pre-training's settings without its seed, {} where it is not in the store."""
    return _recipe_of(index, run.lineage.pretrain_key)


def _recipe_of(index: Index, key: str | None) -> dict[str, Any]:
    stage = index.training.get(key or "")
    return _read(stage.path) if stage else {}


@cache
def _read(directory: Path) -> dict[str, Any]:
    identity = read_identity(directory)
    method = {name: value for name, value in (identity.get("method") or {}).items() if name != "seed"}
    return {name: identity[name] for name in PARTS if name in identity} | method
