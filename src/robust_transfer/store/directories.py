"""Stage directories: names, locks, states, whole-or-not-at-all files, journals, scan.

Layout (design: one directory a stage, named by the content of its configuration)::

    <root>/pretrain/<label>-<key12>/   config.yaml status.json env.json metrics.jsonl last.pt
                                       model.safetensors
    <root>/finetune/<label>-<key12>/   the same
    <root>/eval/<label>-<key12>/       config.yaml status.json env.json journal.<shard>.csv
                                       records.csv summary.json
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.files import atomic_path, read_json, sha256, write_json
from robust_transfer.store.records import Status, Summary

KINDS = ("pretrain", "finetune", "eval")
RESULT = ("records.csv", "summary.json")  # of an evaluation; follow from its journals
RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"
_status_lock = threading.Lock()  # the heartbeat thread and the stage itself both write status.json


@dataclass(frozen=True)
class StageDirectory:
    """One stage on disk: where its files are and what state it is in."""

    path: Path

    @property
    def kind(self) -> str:
        """`pretrain`, `finetune` or `eval`."""
        return self.path.parent.name

    @property
    def key(self) -> str:
        """The 12 hex digits at the end of the directory's name."""
        return self.path.name.rsplit("-", 1)[-1]

    @property
    def model(self) -> Path:
        """The resulting weights of a training stage."""
        return self.path / "model.safetensors"

    @property
    def records(self) -> Path:
        """The per-image records of an evaluation."""
        return self.path / "records.csv"

    def status(self) -> Status:
        """Return what status.json says; nothing is known where there is none yet."""
        return Status.read(read_json(self.path / "status.json"))

    def summary(self) -> Summary | None:
        """Return what summary.json says, or None where there is none yet."""
        summary = Summary.read(read_json(self.path / "summary.json"))
        return summary if summary.evaluator and summary.dataset else None

    def state(self) -> str:
        """`done`, `resumable` (started, not finished or changed since) or `missing`."""
        status = self.status()
        names = RESULT if self.kind == "eval" else ("model.safetensors",)
        if (
            status.state == DONE
            and all((self.path / name).is_file() for name in names)
            and not self.changed(status)
        ):
            return "done"
        return "missing" if status == Status() else "resumable"

    def packed(self) -> bool:
        """Tell whether this is a finished training as packed results hold it: without weights and metrics.

        One that lost its weights alone was damaged.
        """
        files = (self.model, self.path / "metrics.jsonl")
        return self.kind != "eval" and self.status().state == DONE and not any(map(Path.is_file, files))

    def changed(self, status: Status | None = None) -> list[str]:
        """Name the files of an evaluation's result that are no longer what it was finished with."""
        finished = (status or self.status()).files
        return [name for name, digest in finished.items() if sha256(self.path / name) != digest]

    def update(self, **fields: Any) -> None:
        """Merge fields into status.json."""
        with _status_lock:
            present = read_json(self.path / "status.json") or {}
            write_json(self.path / "status.json", {**present, **fields})

    def begin(self, **fields: Any) -> Status:
        """Mark the stage as running in this process, which holds its lock; return its status before."""
        for left_over in self.path.glob(".*.tmp"):  # by a process that was killed while it wrote
            left_over.unlink(missing_ok=True)
        now = time.time()
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": now}
        earlier = self.status()
        self.update(state=RUNNING, started=earlier.started or now, error=None, **holder, **fields)
        return earlier


def open_root(root: Path | str) -> Path:
    """Make the store's root and show that it can be written, or raise ConfigError."""
    if not str(root):
        raise ConfigError("store is empty (expected a directory)", "store=DIR")
    path = Path(root)
    try:
        for kind in KINDS:
            (path / kind).mkdir(parents=True, exist_ok=True)
        with atomic_path(path / ".writable") as temporary:
            temporary.write_bytes(b"")
        (path / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"store={path} cannot be written ({error.strerror or error})",
            "choose another directory: store=DIR",
        ) from error
    return path


def scan(root: Path | str) -> Iterator[StageDirectory]:
    """Yield every stage directory under the store's root, sorted by kind and name."""
    for kind in KINDS:
        try:
            entries = sorted(os.scandir(Path(root) / kind), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir() and "-" in entry.name:
                yield StageDirectory(Path(entry.path))


def find(root: Path | str, key: str) -> StageDirectory:
    """Find the one stage whose key starts with `key` (hex digits), or raise ConfigError."""
    stages = list(scan(root))
    matching = [stage for stage in stages if stage.key.startswith(key)] if key else []
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(stage.path.name for stage in matching[:4])
        raise ConfigError(f"key '{key}' is short: {len(matching)} stages begin with it ({names})")
    hint = (
        did_you_mean(key, (s.key for s in stages)) if 0 < len(stages) <= 12 else "rt-report runs lists them"
    )
    raise ConfigError(f"no stage with key '{key}' in store={root} ({len(stages)} stages there)", hint)
