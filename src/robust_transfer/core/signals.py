"""Signals that stop a run: noted, so that a step ends and is saved, instead of died of."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from robust_transfer.core.errors import Interrupted

# Slurm's and submitit's warnings before a time limit, a scheduler's end, and ^C; Windows lacks some of them.
SIGNALS = tuple(
    signal.Signals[name]
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT")
    if name in signal.Signals.__members__
)
# A terminal sends ^C to a command and to its workers, whose parent hands it on: one ^C, several signals.
SAME_INTERRUPT_SECONDS = 1.0


class SignalFlag:
    """The signal that asked the run to stop, once there is one."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._noted_at = 0.0

    @property
    def requested(self) -> bool:
        """Whether a signal to stop has come."""
        return self.number is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a first signal; a second ^C stops at once.

        Raises
        ------
        KeyboardInterrupt : ^C again
        """
        again = self.requested and time.monotonic() - self._noted_at > SAME_INTERRUPT_SECONDS
        if number == signal.SIGINT and again:
            raise KeyboardInterrupt
        if not self.requested:
            self.number, self._noted_at = number, time.monotonic()


@contextmanager
def signal_flag() -> Iterator[SignalFlag]:
    """Note the signals instead of dying of them, and give the former handlers back afterwards.

    Where the run was interrupted, a scheduler's handler is called then: after the save.

    Outside of the main thread, where Python sets no handlers, nothing is noted.
    """
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    former = {number: signal.signal(number, flag.note) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if isinstance(sys.exc_info()[1], Interrupted):
            call_former_handler(flag.number)


def call_former_handler(number: int | None) -> None:
    """Hand a scheduler's signal on, after the save, to who listened before: submitit queues the job again."""
    if number is not None and signal.Signals(number).name in ("SIGUSR1", "SIGUSR2"):
        handler = signal.getsignal(number)
        if callable(handler):
            handler(number, None)
