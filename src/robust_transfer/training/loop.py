"""The one training loop: fetch, objective, backward, step, log, save."""

# B images of one step and process, C channels, H/W pixels

from __future__ import annotations

import itertools
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import progress
from robust_transfer.core.errors import Interrupted
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.core.signals import signal_flag
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import Context
from robust_transfer.objectives import Objective, Progress
from robust_transfer.training import checkpoints
from robust_transfer.training.finite import NonFiniteMonitor
from robust_transfer.training.loggers import Logger, open_loggers
from robust_transfer.training.optim import Plateau, build_optimizer, lr_at, set_lr
from robust_transfer.training.step import TrainStep, prepare

ENDLESS = sys.maxsize // 2  # steps of a run that only a plateau ends

# (first batch, one past the last), counted over the whole run -> this process's batches
OpenBatches = Callable[[int, int], Iterator[Batch]]


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


def fit(
    model: nn.Module,
    objective: Objective,
    open_batches: OpenBatches,
    *,
    config: TrainingConfig,
    runtime: RuntimeConfig,
    context: Context,
    directory: Path,
    batches_per_epoch: int,
    references: Mapping[str, nn.Module] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train `model`, from the checkpoint in `directory` where there is one.

    A run that is killed at any moment and started again ends with the weights of the uninterrupted run.

    Parameters
    ----------
    model : on the CPU or the context's device; [0, 1] images to logits, or to features for SimCLR
    open_batches : called once with (first batch, one past the last)
    references : the frozen models that the method names, on the context's device
    validate : score to be maximised, the same in every process; called at the end of an epoch, for a plateau

    Returns
    -------
    The model to evaluate, and facts: steps, epochs, wall_seconds (of the loop, all attempts),
    images_per_second, peak_memory_bytes

    Raises
    ------
    ConfigError : loss, metric or weights not finite; Interrupted : told to stop by a signal, and saved
    """
    repeats = config.spec.repeats(config)
    steps_per_epoch = batches_per_epoch * repeats
    total_steps = planned_steps(config, steps_per_epoch)
    with ExitStack() as stack:
        stack.enter_context(training_arithmetic(config.precision))
        flag = stack.enter_context(signal_flag())
        trained = prepare(model, objective, runtime, context, references or {})
        optimizer = build_optimizer(objective.param_groups(trained), config)
        run = Run(trained, optimizer, Plateau.of(config.schedule))
        state = _load(directory, context)
        if state is not None:
            run.restore(state)
        train_step = TrainStep(trained, optimizer, objective, config, runtime, context)
        record = stack.enter_context(_Record(run, runtime, context, directory, total_steps))
        batches = _repeated(open_batches, repeats, run.step, ENDLESS if total_steps is None else total_steps)

        while not run.finished and run.step != total_steps:
            lr = lr_at(
                run.step,
                config,
                steps_per_epoch=steps_per_epoch,
                total_steps=total_steps,
                drops=run.plateau.drops,
            )
            set_lr(run.optimizer, lr)
            batch = record.fetch(batches)
            values = train_step(batch, Progress(run.step, total_steps, batch.epoch, steps_per_epoch))
            run.step += 1
            record.note(values, batch)

            if validate is not None and run.step % steps_per_epoch == 0:
                score = validate(objective.exported_model(run.model))
                run.validation = {"validation_accuracy": score}
                run.finished = run.plateau.update(score)
            ending = run.finished or run.step == total_steps
            logging = run.step % runtime.log_every_steps == 0
            # Several processes agree on log steps only: an agreement holds every one of them up.
            agreeing = logging or context.world_size == 1
            stopping = agreeing and context.any(flag.requested)
            saving = run.step % runtime.save_every_steps == 0 or (agreeing and context.any(record.is_due()))
            if ending or logging:
                record.log(epoch=batch.epoch, lr=lr)
            if ending or stopping or saving:
                record.save()
            if stopping and not ending:
                raise Interrupted(flag.number or signal.SIGTERM, f"step {run.step}")
        return objective.exported_model(run.model), record.facts(steps_per_epoch)


def _repeated(open_batches: OpenBatches, repeats: int, first_step: int, end: int) -> Iterator[Batch]:
    """Yield the batch of every step from `first_step` to `end`: each batch for `repeats` steps in turn."""
    number, done = divmod(first_step, repeats)
    for batch in open_batches(number, -(-end // repeats)):
        yield from itertools.repeat(batch, repeats - done)
        done = 0


def planned_steps(config: TrainingConfig, steps_per_epoch: int) -> int | None:
    """Return the optimiser steps until epochs or max_steps ends the run; None: only a plateau does."""
    ends = [config.max_steps, None if config.epochs is None else config.epochs * steps_per_epoch]
    return min((end for end in ends if end is not None), default=None)


def _load(directory: Path, context: Context) -> dict[str, Any] | None:
    # Process 0 first: it removes what cannot be read, and the others must not meet it.
    state = checkpoints.load(directory) if context.is_main else None
    context.barrier()
    return state if context.is_main else checkpoints.load(directory)


class _Record:
    """What a run leaves behind: metrics, progress, checkpoints, facts."""

    def __init__(
        self, run: Run, runtime: RuntimeConfig, context: Context, directory: Path, total_steps: int | None
    ) -> None:
        self.run, self.context, self.directory = run, context, directory
        self.monitor = NonFiniteMonitor(context, directory)
        self.loggers: list[Logger] = []
        if context.is_main:
            self.loggers = open_loggers(directory, runtime.loggers, start_step=run.step)
        self.progress = progress.Progress(
            directory.name, total=total_steps, done=run.step, shown=context.is_main
        )
        self.save_seconds = 60 * runtime.save_every_minutes
        self.saved = time.monotonic()
        self.images = 0  # of this attempt
        self.waited, self.logged = 0.0, time.monotonic()  # seconds for batches since the last line; its time
        self.seconds_before, self.started = run.seconds, time.monotonic()

    def fetch(self, batches: Iterator[Batch]) -> Batch:
        """Return the next batch, and count how long the loop stood still for it."""
        started = time.monotonic()
        batch = next(batches)
        self.waited += time.monotonic() - started
        return batch

    def note(self, values: dict[str, Tensor], batch: Batch) -> None:
        """Count a step; its numbers stay on the device."""
        self.run.seconds = self.seconds_before + time.monotonic() - self.started
        self.images += len(batch.indices) * self.context.world_size
        self.monitor.note(self.run.step, values, batch.indices)
        self.progress.step()

    def log(self, *, epoch: int, lr: float) -> None:
        """Write one line of metrics, or raise ConfigError where a number is not finite."""
        means = self.monitor.check()
        line = {"step": self.run.step, "epoch": epoch, **means, **self.run.validation, "lr": lr}
        now = time.monotonic()
        timing = {
            "seconds": self.run.seconds,
            "images_per_second": self.rate(),
            "data_wait": self.waited / max(1e-9, now - self.logged),  # share of the time since the last line
        }
        self.waited, self.logged = 0.0, now
        for logger in self.loggers:
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

    def facts(self, steps_per_epoch: int) -> dict[str, Any]:
        """Return what is worth knowing of the whole run."""
        if self.context.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.context.device)
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "steps": self.run.step,
            "epochs": self.run.step / steps_per_epoch,
            "wall_seconds": self.run.seconds,
            "images_per_second": self.rate() if self.images else None,
            "peak_memory_bytes": peak,
            **self.run.validation,
        }

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.close()
        for logger in self.loggers:
            logger.close()
