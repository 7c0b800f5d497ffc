"""Stage directories: names, locks, states, whole-or-not-at-all files, journals, scan.

Layout (design: one directory a stage, named by the content of its configuration)::

    <root>/pretrain/<label>-<key12>/   config.yaml status.json env.json metrics.jsonl last.pt
                                       model.safetensors
    <root>/finetune/<label>-<key12>/   the same
    <root>/eval/<label>-<key12>/       config.yaml status.json env.json journal.<shard>.csv
                                       records.csv summary.json
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from robust_transfer.errors import ConfigError, did_you_mean

KINDS = ("pretrain", "finetune", "eval")
RUNNING, DONE, FAILED = "running", "done", "failed"
HEARTBEAT_SECONDS = 15.0
# What the system says of a disk that takes no more: full, over quota, read-only, over a limit of file size.
TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_status_lock = threading.Lock()  # the heartbeat thread and the stage itself both write status.json


# ---------------------------------------------------------------- whole files


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; flush it to disk and rename it into place on success.

    A reader sees the old file or the new one, never a part. On an exception the old file stays.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, final)
        _sync_directory(final.parent)
    except Exception as error:
        if not isinstance(error, OSError) and (said := _what_the_system_said(error, temporary)):
            raise said from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _what_the_system_said(error: Exception, written: Path) -> OSError | None:
    """Find the system's error behind one of torch (which says nothing of it) or safetensors (a number)."""
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])), str(written))
    if written.exists():
        try:
            with open(written, "ab") as stream:
                stream.write(bytes(2**16))
        except OSError as said:
            return said
    return None


@contextmanager
def disk_errors(root: Path | str) -> Iterator[None]:
    """Turn a disk that takes no more into a ConfigError: a user can put that right."""
    try:
        yield
    except OSError as error:
        if error.errno not in TAKES_NO_MORE:
            raise
        raise ConfigError(
            f"store={root} takes no more ({os.strerror(error.errno)})",
            "make room there: the same command goes on from here",
        ) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any | None:
    """Read JSON, or None where the file is missing or cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


# ---------------------------------------------------------------- stage directories


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

    def status(self) -> dict[str, Any]:
        """Return status.json, or {} where there is none yet."""
        return read_json(self.path / "status.json") or {}

    def summary(self) -> dict[str, Any]:
        """Return summary.json, or {} where there is none yet."""
        return read_json(self.path / "summary.json") or {}

    def state(self) -> str:
        """`done`, `resumable` (started, not finished) or `missing`."""
        status = self.status()
        names = ("records.csv", "summary.json") if self.kind == "eval" else ("model.safetensors",)
        if status.get("state") == DONE and all((self.path / name).is_file() for name in names):
            return "done"
        return "resumable" if status else "missing"

    def update(self, **fields: Any) -> None:
        """Merge fields into status.json."""
        with _status_lock:
            write_json(self.path / "status.json", {**self.status(), **fields})

    def begin(self, **fields: Any) -> None:
        """Mark the stage as running in this process, which holds its lock."""
        for left_over in self.path.glob(".*.tmp"):  # by a process that was killed while it wrote
            left_over.unlink(missing_ok=True)
        now = time.time()
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": now}
        started = self.status().get("started", now)
        self.update(state=RUNNING, started=started, error=None, **holder, **fields)


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
    found = [stage for stage in stages if stage.key.startswith(key)] if key else []
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(stage.path.name for stage in found[:4])
        raise ConfigError(f"key '{key}' is short: {len(found)} stages begin with it ({names})")
    hint = (
        did_you_mean(key, (s.key for s in stages)) if 0 < len(stages) <= 12 else "rt-report runs lists them"
    )
    raise ConfigError(f"no stage with key '{key}' in store={root} ({len(stages)} stages there)", hint)


# ---------------------------------------------------------------- locks


@contextmanager
def locked(stage: StageDirectory, *, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold a stage's lock; while another process holds it, call `on_wait` about once a minute.

    The lock is the operating system's, so a killed process holds nothing. While it is held, a thread
    keeps `heartbeat` in status.json young, for those who wait.
    """
    stage.path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(stage.path / "lock")
    patience = 1.0
    while True:
        try:
            lock.acquire(timeout=patience, poll_interval=0.1)
            break
        except filelock.Timeout:
            on_wait(_holder(stage))
            patience = 60.0
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(stage, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        lock.release()


def _beat(stage: StageDirectory, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        if stage.status().get("state") == RUNNING:
            # A full disk stops the stage itself, with a better message than this thread could give.
            with contextlib.suppress(OSError):
                stage.update(heartbeat=time.time())


def _holder(stage: StageDirectory) -> str:
    status = stage.status()
    if "heartbeat" not in status:
        return "another process"
    age = max(0, round(time.time() - status["heartbeat"]))
    return f"process {status.get('pid')} on {status.get('host')} (heartbeat {age} s ago)"
