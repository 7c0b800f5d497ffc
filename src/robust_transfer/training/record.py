"""What a training run leaves behind: metrics, progress, checkpoints, totals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import progress
from robust_transfer.core.logging import logger
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import Context
from robust_transfer.training import checkpoints
from robust_transfer.training.boards import NUM_EXAMPLES, Board
from robust_transfer.training.finite import NonFinite, NonFiniteMonitor
from robust_transfer.training.loggers import JsonlLogger, open_loggers
from robust_transfer.training.memory import peak_bytes, reset_peak
from robust_transfer.training.schedules import Plateau
from robust_transfer.training.start import Estimate

MOST_IN_A_ROW = 3  # batches that are skipped before a run is given up


@dataclass
class Run:
    """What moves while a run goes on; a checkpoint holds all of it."""

    model: nn.Module  # as trained: SimCLR's includes the projection head
    optimizer: torch.optim.Optimizer
    plateau: Plateau
    step: int = 0  # optimiser steps done
    skipped: list[int] = field(default_factory=list)  # steps, counted from 0, that are passed over
    finished: bool = False  # a plateau ended the run
    seconds: float = 0.0  # spent in the loop, by all attempts
    validation: dict[str, float] = field(default_factory=dict)

    def judge(self, score: float) -> None:
        """Take the score of an epoch; a plateau may drop the learning rate, or end the run."""
        self.validation = {"validation_accuracy": score}
        self.finished = self.plateau.update(score)

    def state(self) -> dict[str, Any]:
        """Return everything a checkpoint keeps; randomness is keyed, so none of it is state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state(),
            "step": self.step,
            "skipped": self.skipped,
            "finished": self.finished,
            "seconds": self.seconds,
            "validation": self.validation,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.restore(state["plateau"])
        self.step, self.finished = state["step"], state["finished"]
        self.skipped = state.get("skipped", [])
        self.seconds, self.validation = state["seconds"], state["validation"]


def resume(run: Run, directory: Path, context: Context) -> bool:
    """Take the last checkpoint in `directory` up; return whether there is one."""
    # Process 0 first: it removes what cannot be read, and the others must not meet it.
    state = checkpoints.load(directory) if context.is_main else None
    context.barrier()
    if not context.is_main:
        state = checkpoints.load(directory)
    if state is not None:
        run.restore(state)
    return state is not None


class Record:
    """What a run leaves behind: metrics, progress, checkpoints, totals."""

    def __init__(
        self, run: Run, runtime: RuntimeConfig, context: Context, directory: Path, total_steps: int | None
    ) -> None:
        self.run, self.runtime, self.context, self.directory = run, runtime, context, directory
        self.total_steps = total_steps
        self.monitor = NonFiniteMonitor(context, directory)
        self.writer = checkpoints.Writer(directory)
        self.estimate = Estimate(total_steps, run.step) if context.is_main else None
        self.lines: JsonlLogger | None = None
        self.boards: list[Board] = []
        self._open()
        self.save_seconds = 60 * runtime.save_every_minutes
        self.saved = time.monotonic()
        self.images = 0  # of this attempt
        self.waited = 0.0  # seconds that batches were waited for
        self.logged, self.waited_before = time.monotonic(), 0.0  # at the last line of metrics
        reset_peak(context.device)
        self.seconds_before, self.started = run.seconds, time.monotonic()

    def _open(self) -> None:
        """Open what shows the run, from the step that it is at."""
        if self.context.is_main:
            self.lines, self.boards = open_loggers(self.directory, self.runtime, start_step=self.run.step)
        self.progress = progress.ProgressBar(
            self.directory.name, total=self.total_steps, done=self.run.step, shown=self.context.is_main
        )

    def fetch(self, batches: Iterator[Batch]) -> Batch:
        """Return the next batch, and count how long the loop stood still for it."""
        started = time.monotonic()
        batch = next(batches)
        self.waited += time.monotonic() - started
        return batch

    def note(self, values: dict[str, Tensor], batch: Batch) -> None:
        """Count a step; its numbers stay on the device. A skipped step has none.

        Raises what a checkpoint that was being written meanwhile has failed with.
        """
        self.writer.check()
        if not self.images:
            for board in self.boards:
                board.images("train/images", batch.images[0][:NUM_EXAMPLES].cpu(), self.run.step)
        self.run.seconds = self.seconds_before + time.monotonic() - self.started
        self.images += len(batch.indices) * self.context.world_size
        self.monitor.note(self.run.step, values, batch.indices)
        self.progress.step()
        if self.estimate is not None:
            self.estimate.note(self.run.step, self.waited)

    def log(self, *, epoch: int, lr: float) -> None:
        """Write one line of metrics, or raise ConfigError where a number is not finite."""
        means = self.monitor.check()
        line = {"step": self.run.step, "epoch": epoch, **means, **self.run.validation, "lr": lr}
        now = time.monotonic()
        timing = {
            "seconds": self.run.seconds,
            "images_per_second": self.rate(),
            # share of the time since the last line
            "data_wait": (self.waited - self.waited_before) / max(1e-9, now - self.logged),
        }
        self.logged, self.waited_before = now, self.waited
        for shown in self._loggers():
            shown.log({**line, **timing})
        self.progress.show(" ".join(f"{name}={value:.4g}" for name, value in means.items()))

    def save(self, *, wait: bool = False) -> None:
        """Begin to write last.pt, unless a number or a weight is not finite; `wait` until it is there."""
        self.monitor.check()
        self.monitor.check_weights(self.run.model, self.run.step)
        if self.context.is_main:
            self.writer.save(self.run.state())
            if wait:
                self.writer.wait()
        self.saved = time.monotonic()

    def goes_back(self, repeats: int) -> bool:
        """Return to the last checkpoint where the newest step is not finite; it will be skipped.

        Looks at every step by itself, so that the batch is the one to blame; waits for the device.

        Parameters
        ----------
        repeats : steps that are taken on one batch in turn; those after the bad one are skipped too

        Returns
        -------
        Whether the run is at its last checkpoint again

        Raises
        ------
        NonFinite : again, after MOST_IN_A_ROW batches that were skipped
        """
        try:
            self.monitor.check()
            self.monitor.check_weights(self.run.model, self.run.step)
        except NonFinite as error:
            self._go_back(error, repeats)
            return True
        return False

    def _go_back(self, error: NonFinite, repeats: int) -> None:
        bad = self.run.step - 1
        end = bad + repeats - bad % repeats
        skipped = {*self.run.skipped, *range(bad, end)}
        if all(end - 1 - number * repeats in skipped for number in range(1, MOST_IN_A_ROW + 1)):
            logger.warning("the %d batches before were skipped too: the run diverges", MOST_IN_A_ROW)
            raise error
        self.writer.wait()
        resume(self.run, self.directory, self.context)
        self.run.skipped = sorted(skipped)
        self.monitor.forget()
        if self.context.is_main:
            logger.warning("%s; going on from step %d, past this batch", error.what, self.run.step)
        self._close()
        self._open()

    def is_due(self) -> bool:
        """Return whether the last checkpoint is older than runtime.save_every_minutes."""
        return time.monotonic() - self.saved > self.save_seconds

    def rate(self) -> float:
        """Return images per second of this attempt, over all processes."""
        return self.images / max(1e-9, self.run.seconds - self.seconds_before)

    def totals(self, steps_per_epoch: int) -> dict[str, Any]:
        """Return what is worth knowing of the whole run."""
        skips = {"skipped_steps": len(self.run.skipped)} if self.runtime.on_nonfinite == "skip" else {}
        return {
            "steps": self.run.step,
            **skips,
            "epochs": self.run.step / steps_per_epoch,
            "wall_seconds": self.run.seconds,
            "images_per_second": self.rate() if self.images else None,
            "peak_memory_bytes": peak_bytes(self.context.device),
            **self.run.validation,
        }

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._close()
        if kind is None:
            self.writer.wait()
        elif issubclass(kind, Exception):
            # What ended the run is worth more than that its last checkpoint was not written either.
            with suppress(Exception):
                self.writer.wait()

    def _close(self) -> None:
        self.progress.close()
        for shown in self._loggers():
            shown.close()

    def _loggers(self) -> list[JsonlLogger | Board]:
        return [*([self.lines] if self.lines else []), *self.boards]
