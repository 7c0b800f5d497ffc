"""Messages of the library: records of the logger `robust_transfer`; the commands put them on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("robust_transfer")


class _Stderr(logging.Handler):
    """Write one line a record to what is sys.stderr at that moment, warnings with their level before them."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        sys.stderr.write(f"{level}{record.getMessage()}\n")
        sys.stderr.flush()


@contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Show the library's messages while a command runs; the logger is given back as it was."""
    if shows_messages():
        yield
        return
    handler, level = _Stderr(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def shows_messages() -> bool:
    """Return whether this process is inside `messages_on_stderr`."""
    return any(isinstance(handler, _Stderr) for handler in logger.handlers)


@contextmanager
def silenced(*names: str) -> Iterator[None]:
    """Keep the loggers of other packages silent; they are given back as they were."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
