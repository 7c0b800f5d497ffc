"""The one training loop: fetch, objective, backward, step, log, save."""

# B images of one step and process, C channels, H/W pixels

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core.errors import Interrupted
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.core.signals import signal_flag
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import Context
from robust_transfer.objectives import Objective, Progress
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.profiling import profiled
from robust_transfer.training.record import Record, Run, resume
from robust_transfer.training.schedules import Plateau, lr_at, planned_steps, set_lr
from robust_transfer.training.step import TrainStep, prepare

ENDLESS = sys.maxsize // 2  # steps of a run that only a plateau ends

# (first batch, one past the last), counted over the whole run -> this process's batches
OpenBatches = Callable[[int, int], Iterator[Batch]]


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
    The model to evaluate, and totals: steps, epochs, wall_seconds (of the loop, all attempts),
    images_per_second, peak_memory_bytes

    Raises
    ------
    NonFinite : loss, metric or weights, and not to be skipped; Interrupted : stopped by a signal, and saved
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
        resumed = resume(run, directory, context)
        train_step = TrainStep(trained, optimizer, objective, config, runtime, context)
        record = stack.enter_context(Record(run, runtime, context, directory, total_steps))
        profiler = stack.enter_context(profiled(directory, enabled=runtime.profile and context.is_main))
        batches = _repeated(open_batches, repeats, run.step, total_steps)
        skipping = runtime.on_nonfinite == "skip"
        if skipping and not resumed:
            record.save()

        while not run.finished and run.step != total_steps:
            lr = _set_lr(run, config, steps_per_epoch, total_steps)
            batch = record.fetch(batches)
            progress = Progress(run.step, total_steps, batch.epoch, steps_per_epoch)
            skipped = run.step in run.skipped
            values = {} if skipped else train_step(batch, progress)
            run.step += 1
            record.note(values, batch)
            if skipping and record.goes_back(repeats):
                batches = _repeated(open_batches, repeats, run.step, total_steps)
                continue
            profiler.step()

            if validate is not None and run.step % steps_per_epoch == 0:
                run.judge(validate(objective.exported_model(run.model)))
            ending = run.finished or run.step == total_steps
            logging = run.step % runtime.log_every_steps == 0
            # Several processes agree on log steps only: an agreement holds every one of them up.
            agreeing = logging or context.world_size == 1
            stopping = agreeing and context.any(flag.requested)
            saving = run.step % runtime.save_every_steps == 0 or (agreeing and context.any(record.is_due()))
            if ending or logging:
                record.log(epoch=batch.epoch, lr=lr)
            if ending or stopping or saving or skipped:
                record.save(wait=ending or stopping)
            if stopping and not ending:
                raise Interrupted(flag.number or signal.SIGTERM, f"step {run.step}")
        return objective.exported_model(run.model), record.totals(steps_per_epoch)


def _set_lr(run: Run, config: TrainingConfig, steps_per_epoch: int, total_steps: int | None) -> float:
    """Give the optimiser the learning rate of the step that comes, and return it."""
    drops = run.plateau.drops
    lr = lr_at(run.step, config, steps_per_epoch=steps_per_epoch, total_steps=total_steps, drops=drops)
    set_lr(run.optimizer, lr)
    return lr


def _repeated(
    open_batches: OpenBatches, repeats: int, first_step: int, total_steps: int | None
) -> Iterator[Batch]:
    """Yield the batch of every step from `first_step` on: each batch for `repeats` steps in turn."""
    end = ENDLESS if total_steps is None else total_steps
    number, done = divmod(first_step, repeats)
    for batch in open_batches(number, -(-end // repeats)):
        yield from itertools.repeat(batch, repeats - done)
        done = 0
