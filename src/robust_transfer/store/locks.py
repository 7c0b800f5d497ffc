"""One process at a time computes a stage; the others wait and are told for whom."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import filelock

from robust_transfer.store.directories import RUNNING, StageDirectory

HEARTBEAT_SECONDS = 15.0


@contextmanager
def locked(
    stage: StageDirectory, *, on_wait: Callable[[str], None], every_seconds: float = 60.0
) -> Iterator[None]:
    """Hold a stage's lock; while another process holds it, call `on_wait` now and then.

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
            patience = every_seconds
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
        if stage.status().state == RUNNING:
            # A full disk stops the stage itself, with a better message than this thread could give.
            with contextlib.suppress(OSError):
                stage.update(heartbeat=time.time())


def _holder(stage: StageDirectory) -> str:
    status = stage.status()
    if status.heartbeat is None:
        return "another process"
    age = max(0, round(time.time() - status.heartbeat))
    return f"process {status.pid} on {status.host} (heartbeat {age} s ago)"
