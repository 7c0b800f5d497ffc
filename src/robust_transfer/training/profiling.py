"""What a few steps spend their time on, as a trace for a browser (runtime.profile)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import profile, schedule

from robust_transfer.core.logging import logger

NAME = "trace.json"
SKIPPED, WARM_UP, PROFILED = 10, 2, 5  # steps


class Profiler:
    """Is told of every step; without a profile, of none."""

    def __init__(self, running: profile | None) -> None:
        self._running = running

    def step(self) -> None:
        """Count a step."""
        if self._running is not None:
            self._running.step()


@contextmanager
def profiled(directory: Path, *, enabled: bool) -> Iterator[Profiler]:
    """Write `trace.json` of some of the first steps; chrome://tracing and Perfetto show it."""
    if not enabled:
        yield Profiler(None)
        return

    def write(running: profile) -> None:
        running.export_chrome_trace(str(directory / NAME))
        logger.info("wrote %s", directory / NAME)

    steps = schedule(skip_first=SKIPPED, wait=0, warmup=WARM_UP, active=PROFILED, repeat=1)
    with profile(schedule=steps, on_trace_ready=write) as running:
        yield Profiler(running)
