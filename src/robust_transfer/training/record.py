"""What a training run leaves behind: metrics, progress, checkpoints, totals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import progress
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import Context
from robust_transfer.training import checkpoints
from robust_transfer.training.boards import NUM_EXAMPLES, Board
from robust_transfer.training.finite import NonFiniteMonitor
from robust_transfer.training.loggers import JsonlLogger, open_loggers
from robust_transfer.training.memory import peak_bytes, reset_peak
from robust_transfer.training.schedules import Plateau
from robust_transfer.training.start import Estimate


@dataclass
class Run:
    """What moves while a run goes on; a checkpoint holds all of it."""

    model: nn.Module  # as trained: SimCLR's includes the projection head
    optimizer: torch.optim.Optimizer
    plateau: Plateau
    step: int = 0  # optimiser steps done
    finished: bool = False  # a plateau ended the run
    seconds: float = 0.0  # spent in the loop, by all attempts
    validation: dict[str, float] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return everything a checkpoint keeps; randomness is keyed, so none of it is state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state(),
            "step": self.step,
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
        self.seconds, self.validation = state["seconds"], state["validation"]


class Record:
    """What a run leaves behind: metrics, progress, checkpoints, totals."""

    def __init__(
        self, run: Run, runtime: RuntimeConfig, context: Context, directory: Path, total_steps: int | None
    ) -> None:
        self.run, self.context, self.directory = run, context, directory
        self.monitor = NonFiniteMonitor(context, directory)
        self.estimate = Estimate(total_steps, run.step) if context.is_main else None
        self.lines: JsonlLogger | None = None
        self.boards: list[Board] = []
        if context.is_main:
            self.lines, self.boards = open_loggers(directory, runtime, start_step=run.step)
        self.progress = progress.ProgressBar(
            directory.name, total=total_steps, done=run.step, shown=context.is_main
        )
        self.save_seconds = 60 * runtime.save_every_minutes
        self.saved = time.monotonic()
        self.images = 0  # of this attempt
        self.waited = 0.0  # seconds that batches were waited for
        self.logged, self.waited_before = time.monotonic(), 0.0  # at the last line of metrics
        reset_peak(context.device)
        self.seconds_before, self.started = run.seconds, time.monotonic()

    def fetch(self, batches: Iterator[Batch]) -> Batch:
        """Return the next batch, and count how long the loop stood still for it."""
        started = time.monotonic()
        batch = next(batches)
        self.waited += time.monotonic() - started
        return batch

    def note(self, values: dict[str, Tensor], batch: Batch) -> None:
        """Count a step; its numbers stay on the device."""
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
        for logger in self._loggers():
            logger.log({**line, **timing})
        self.progress.show(" ".join(f"{name}={value:.4g}" for name, value in means.items()))

    def save(self) -> None:
        """Write last.pt, unless a number or a weight is not finite."""
        self.monitor.check()
        self.monitor.check_weights(self.run.model, self.run.step)
        if self.context.is_main:
            checkpoints.save(self.directory, self.run.state())
        self.saved = time.monotonic()

    def is_due(self) -> bool:
        """Return whether the last checkpoint is older than runtime.save_every_minutes."""
        return time.monotonic() - self.saved > self.save_seconds

    def rate(self) -> float:
        """Return images per second of this attempt, over all processes."""
        return self.images / max(1e-9, self.run.seconds - self.seconds_before)

    def totals(self, steps_per_epoch: int) -> dict[str, Any]:
        """Return what is worth knowing of the whole run."""
        return {
            "steps": self.run.step,
            "epochs": self.run.step / steps_per_epoch,
            "wall_seconds": self.run.seconds,
            "images_per_second": self.rate() if self.images else None,
            "peak_memory_bytes": peak_bytes(self.context.device),
            **self.run.validation,
        }

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.close()
        for logger in self._loggers():
            logger.close()

    def _loggers(self) -> list[JsonlLogger | Board]:
        return [*([self.lines] if self.lines else []), *self.boards]
