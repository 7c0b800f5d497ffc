"""Command lines of runs that take a second: real digits of 8 by 8 pixels, a network of width 4, two steps."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from robust_transfer.cli.compose import hydra_session, read
from robust_transfer.config.run import TrainConfig, train_config

SMALL = (
    "source=mnist5k",
    "source.shots=5",
    "dataset=digits",
    "dataset.shots=2",
    "model=resnet18_small",
    "model.width=4",
    "model.image_size=8",
    "runtime.device=cpu",
)
TINY = (
    *SMALL,
    "finetune.max_steps=2",
    "finetune.batch_size=8",
    "certify.n=100",
    "certify.subset=5",
    "autopgd.subset=5",
    "autopgd.num_steps=3",
)
TINY_PRETRAIN = ("pretrain.max_steps=2", "pretrain.batch_size=10")


def tiny(pretrain: str, finetune: str, store: Path, *more: str) -> list[str]:
    """Return the words after rt-train."""
    extra = () if pretrain == "none" else TINY_PRETRAIN
    return [f"pretrain={pretrain}", f"finetune={finetune}", *TINY, *extra, f"store={store}", *more]


def composed(*overrides: str) -> TrainConfig:
    """Compose one run from the shipped configs; every call gets a configuration of its own."""
    return train_config(copy.deepcopy(_values(*overrides)))


@functools.cache
def _values(*overrides: str) -> dict[str, Any]:
    with shipped_configs():
        (job,) = read("train", list(overrides), multirun=False).jobs
    return job.values


@contextmanager
def shipped_configs() -> Iterator[None]:
    """A session of Hydra on the shipped configs, whose files are read once for all tests of a process."""
    shared = _hydra()
    session = GlobalHydra.instance()
    before, session.hydra = session.hydra, shared
    try:
        yield
    finally:
        session.hydra = before


@functools.cache
def _hydra() -> Any:
    with hydra_session("rt-train", None):
        return GlobalHydra.instance().hydra


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """Return time of change and content's hash of every file under `root`."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def results(root: Path) -> dict[str, bytes]:
    """Return the bytes that may not depend on how often a run was interrupted."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for name in ("model.safetensors", "records.csv")
        for path in sorted(root.rglob(name))
    }
