"""`last.pt`: everything a run needs to go on, written whole, the one before it kept."""

from __future__ import annotations

import os
import pickle
import threading
import zipfile
from pathlib import Path
from typing import Any

import torch

from robust_transfer.core.errors import CheckpointError
from robust_transfer.core.files import atomic_path
from robust_transfer.core.logging import logger

LAST, PREVIOUS = "last.pt", "last.previous.pt"
UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile)


def save(directory: Path, state: dict[str, Any]) -> None:
    """Write `state` as last.pt; what was last.pt becomes last.previous.pt. One of them is always whole."""
    with atomic_path(directory / LAST) as temporary:
        torch.save(state, temporary)
        if (directory / LAST).exists():
            os.replace(directory / LAST, directory / PREVIOUS)


class Writer:
    """Writes one checkpoint at a time in a thread of its own: training goes on meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Copy `state` to the CPU and begin to write it, after the one before."""
        self.wait()
        # Dies with the process, as at a second ^C: what it leaves then is a file of a temporary name.
        self._thread = threading.Thread(target=self._write, args=(_on_cpu(state),), daemon=True)
        self._thread.start()

    def _write(self, state: dict[str, Any]) -> None:
        try:
            save(self._directory, state)
        except Exception as error:
            self._error = error

    def check(self) -> None:
        """Raise what a write that has ended failed with."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait until what was begun is written, or raise what that failed with."""
        if self._thread is not None:
            self._thread.join()
        self.check()


def _on_cpu(value: Any) -> Any:
    """Copy the tensors within dictionaries, lists and tuples, on the CPU too: the next step changes them."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: _on_cpu(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(part) for part in value)
    return value


def load(directory: Path) -> dict[str, Any] | None:
    """Return the newest state that can be read, on the CPU; None where a run has not saved yet.

    An unreadable last.pt is removed with one line of warning, and the one before it is used.

    Raises
    ------
    CheckpointError : there are checkpoints and none can be read
    """
    unreadable = []
    for name in (LAST, PREVIOUS):
        path = directory / name
        if not path.exists():
            continue
        try:
            state = _read(path)
        except UNREADABLE as error:
            unreadable.append((path, str(error).splitlines()[0] if str(error) else type(error).__name__))
            continue
        for broken, why in unreadable:
            logger.warning("%s cannot be read (%s); resuming from %s", broken, why, name)
            # The next save would put it in the place of the good one.
            broken.unlink()
        return state
    if unreadable:
        raise CheckpointError(
            f"no checkpoint in {directory} can be read ({unreadable[0][1]})",
            f"delete {directory} to begin this stage again",
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        # torch does not compare the checksums that it writes.
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
