"""One GPU a worker process: parallel runs on one node do not share a device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import filelock

_claimed: filelock.BaseFileLock | None = None  # held until this process ends


def visible_gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES can pick the GPUs that this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def claim(folder: Path, gpus: Sequence[str]) -> str | None:
    """Take a free GPU for the rest of this process's life; None where all are taken or there is none.

    Must be called before CUDA is initialised: the other GPUs become invisible.
    """
    global _claimed
    if _claimed is not None:
        return os.environ["CUDA_VISIBLE_DEVICES"]
    folder.mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        lock = filelock.FileLock(folder / f"gpu-{gpu}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            continue
        _claimed = lock
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return gpu
    return None
