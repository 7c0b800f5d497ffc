"""How far a run is: a bar on a terminal, one logged line a minute elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from robust_transfer.core.logging import logger

LINE_SECONDS = 60.0


def short(name: str) -> str:
    """Shorten a stage's name to what tells it apart beside a bar: its method and data set."""
    return " ".join(name.split("-")[:2])


class ProgressBar:
    """Count steps; silent where `shown` is false (all processes but the first)."""

    def __init__(self, what: str, *, total: int | None, done: int = 0, shown: bool = True) -> None:
        self._what, self._total, self._done = what, total, done
        self._first, self._start = done, time.monotonic()
        self._shown, self._line_at = shown, self._start + LINE_SECONDS
        self._text = ""
        self._bar: tqdm | None = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(
                desc=short(what), total=total, initial=done, unit="step", leave=False, dynamic_ncols=True
            )

    def step(self, number: int = 1) -> None:
        """Count steps that are done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elif self._shown and time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + LINE_SECONDS
            logger.info(self._line())

    def show(self, text: str) -> None:
        """Set the numbers beside the count."""
        self._text = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def _line(self) -> str:
        rate = (self._done - self._first) / max(1e-9, time.monotonic() - self._start)
        line = f"{self._what}: step {self._done}"
        if self._total is not None:
            left = (self._total - self._done) / rate if rate else 0.0
            line += f" of {self._total}, {left / 60:.0f} min left"
        return f"{line} ({rate:.3g} a second) {self._text}".rstrip()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
