"""SIGTERM and SIGUSR1: finish the step, save, exit 75, so that a scheduler queues the run again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from robust_transfer.core.errors import EXIT_RESUMABLE

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupted(SystemExit):
    """The run was told to stop and has saved; the same command goes on. Exit code 75."""

    def __init__(self) -> None:
        super().__init__(EXIT_RESUMABLE)

    def __reduce__(self) -> tuple[type[Interrupted], tuple[()]]:
        """Pickle for the way from a worker to its parent."""
        return Interrupted, ()


class SignalFlag:
    """Whether a signal to stop has come."""

    requested = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


@contextmanager
def signal_flag() -> Iterator[SignalFlag]:
    """Note the signals instead of dying of them, and give the former handlers back afterwards.

    Outside of the main thread, where Python sets no handlers, nothing is noted.
    """
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    former = {number: signal.signal(number, flag._note) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
