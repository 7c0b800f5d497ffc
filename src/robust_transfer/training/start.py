"""What a training says when it starts: device, images, steps, hours; and what will make it slow."""

from __future__ import annotations

import time

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.core.logging import logger
from robust_transfer.data.loaders import steps_per_epoch
from robust_transfer.distributed.context import Context
from robust_transfer.distributed.devices import device_name, usable_cores
from robust_transfer.store.job import StageJob
from robust_transfer.training.schedules import planned_steps

FULL_SIZE = 128  # pixels: from here on a residual network keeps a CPU busy for days
SEVERAL = 1000  # images in a whole run, which a CPU manages in minutes
WARM_UP, TIMED = 5, 20  # steps left out of the first estimate, and the step that it is made at
MAX_WAIT = 0.2  # share of the time that may be spent waiting for images
SHORT = 60.0  # seconds to go under which no advice on speed is worth a warning


def announce(job: StageJob, num_images: int, context: Context) -> None:
    """Log one line before the first step, and a warning where there is no GPU for a network of full size."""
    if not context.is_main:
        return
    method: TrainingConfig = job.stage.config
    steps = planned_steps(
        method, steps_per_epoch(num_images, method.batch_size) * method.spec.repeats(method)
    )
    length = "until a plateau" if steps is None else f"{steps:,} steps"
    several = f" of {context.world_size} devices" if context.world_size > 1 else ""
    logger.info(
        "%s%s: %s images, %s of %d",
        device_name(context.device),
        several,
        f"{num_images:,}",
        length,
        method.batch_size,
    )
    if context.device.type != "cpu":
        return
    network = job.stage.model
    seen = None if steps is None else steps * method.batch_size
    if network.image_size >= FULL_SIZE and (seen is None or seen > SEVERAL):
        logger.warning(
            "no GPU: %s at %d pixels trains on the CPU, %s (to try it: budget=smoke)",
            network.arch,
            network.image_size,
            length,
        )
    if context.world_size > usable_cores():
        logger.warning("%d processes share %d cores", context.world_size, usable_cores())


class Estimate:
    """Says once how long a run will take, and once that it waits for its images, unless it is short."""

    def __init__(self, total_steps: int | None, step: int) -> None:
        self._total, self._first = total_steps, step
        self._started: tuple[float, float] | None = None  # time and seconds waited, after the warm-up

    def note(self, step: int, waited: float) -> None:
        """Count a step; `waited` seconds have been spent on waiting for images since the start."""
        done, now = step - self._first, time.monotonic()
        if done == WARM_UP:
            self._started = now, waited
        if done != TIMED or self._started is None:
            return
        seconds, waiting = now - self._started[0], waited - self._started[1]
        left = None if self._total is None else seconds / (TIMED - WARM_UP) * (self._total - step)
        if left is not None:
            logger.info("about %s to go", duration(left))
        if waiting > MAX_WAIT * seconds and (left is None or left > SHORT):
            logger.warning(
                "%.0f %% of the time is spent waiting for images (more runtime.num_workers, data.cache)",
                100 * waiting / seconds,
            )


def duration(seconds: float) -> str:
    """Say a length of time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
