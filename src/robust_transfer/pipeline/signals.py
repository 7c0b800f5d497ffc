"""How a run leaves on a scheduler's signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from robust_transfer.core.errors import Interrupted
from robust_transfer.core.signals import SIGNALS


@contextmanager
def resumable() -> Iterator[None]:
    """Leave with code 75 on a scheduler's signals, which queues the run again: journals keep what is done.

    Training replaces these handlers by one that saves a checkpoint first; a handler that a launcher has set,
    such as submitit's, stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, "what is journalled")

    numbers = [
        number
        for number in SIGNALS
        if number != signal.SIGINT and (number == signal.SIGTERM or not callable(signal.getsignal(number)))
    ]
    handlers = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
