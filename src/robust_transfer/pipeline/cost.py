"""What a stage costs: steps and passes from its configuration, hours, memory and disk from what was measured.

A pass is one forward pass of one image; a backward pass counts as one more for each gradient it takes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.config.evaluator import EvaluatorConfig
from robust_transfer.config.methods import CheckpointConfig, TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.config.schema import settings
from robust_transfer.data import catalogue
from robust_transfer.pipeline.inputs import expected_train_images
from robust_transfer.pipeline.stage import Stage, stage_devices
from robust_transfer.store import directories
from robust_transfer.store.records import Lineage, Status
from robust_transfer.store.stage_config import read_identity


@dataclass(frozen=True)
class Rate:
    """The rate of a finished or timed stage of the same recipe, and where it ran; None: unknown."""

    seconds_per_pass: float
    device: str | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True)
class Cost:
    """The cost of a stage that is not done; None: unknown."""

    steps: int | None
    passes: int | None
    hours: float | None
    memory_bytes: int | None
    disk_bytes: int | None


def cost(stage: Stage, rate: Rate | None) -> Cost:
    """Return the cost of a stage from its configuration and the rate of its recipe."""
    amount = passes(stage)
    if amount == 0:
        return Cost(None, 0, 0.0, None, None)
    hours = None if rate is None or amount is None else rate.seconds_per_pass * amount / 3600
    memory = None if rate is None else rate.memory_bytes
    disk = None if rate is None else rate.disk_bytes
    return Cost(total_steps(stage), amount, hours, memory, disk)


def total_steps(stage: Stage) -> int | None:
    """Return a training stage's steps as far as the catalogue allows; None for an evaluation or a plateau."""
    config = stage.config
    if not isinstance(config, TrainingConfig):
        return None
    images = stage.generated or expected_train_images(stage.dataset)
    if images is None:
        return config.max_steps
    per_epoch = max(1, images // config.batch_size) * config.spec.repeats(config)
    by_epochs = None if config.epochs is None else config.epochs * per_epoch
    return min((s for s in (by_epochs, config.max_steps) if s is not None), default=None)


def images(stage: Stage) -> int | None:
    """Return the images that a stage reads, as far as the catalogue states them."""
    if isinstance(stage.config, TrainingConfig):
        return stage.generated or expected_train_images(stage.dataset)
    return None if isinstance(stage.config, CheckpointConfig) else _test_images(stage)


def passes(stage: Stage) -> int | None:
    """Return the passes of a whole stage; of an attack or a certificate the most that it can take."""
    if isinstance(stage.config, CheckpointConfig):
        return 0
    if isinstance(stage.config, TrainingConfig):
        steps = total_steps(stage)
        images = None if steps is None else steps * stage.config.batch_size
    else:
        images = _test_images(stage)
    return None if images is None else round(images * passes_per_image(stage.config))


def passes_per_image(config: Any) -> float:
    """Return the passes that an image takes in one training step, or in its evaluation at most."""
    match config:
        case TrainingConfig():
            return config.spec.passes_per_image(config)
        case EvaluatorConfig():
            return config.spec.passes_per_image(settings(config))
    raise TypeError(config)


def _test_images(stage: Stage) -> int | None:
    size = stage.generated or catalogue.get(stage.dataset.name).test
    numbers = [number for number in (size, stage.config.subset) if number is not None]
    return min(numbers, default=None)


# ---------------------------------------------------------------- rates


def recipe(stage_identity: dict[str, Any], lineage: Lineage) -> str:
    """Identify what a pass costs by: the network, the method, the arithmetic, whether it ends early."""
    network = [lineage.arch, lineage.width, lineage.image_size]
    method = stage_identity.get("method") or stage_identity.get("settings") or {}
    names = (
        "name",
        "mode",
        "batch_size",
        "micro_batch",
        "precision",
        "arithmetic",
        "attack",
        "num_noise_samples",
    )
    parts = [stage_identity.get("evaluator"), network, [method.get(name) for name in names]]
    return json.dumps(parts, sort_keys=True)


def finished_rates(root: Path | str, device: str | None = None) -> dict[str, Rate]:
    """Return the rate of every recipe that finished in this store, on `device` where it is named.

    Smoke runs are too short to tell.
    """
    finished: dict[str, list[tuple[Status, int]]] = {}  # of a recipe, with the bytes that each stage takes
    for directory in directories.scan(root):
        status = directory.status()
        if status.state != directories.DONE or not status.passes or status.wall_seconds is None:
            continue
        if "smoke" in status.marks or device not in (None, status.device):
            continue
        if identity := read_identity(directory.path):
            size = sum(file.stat().st_size for file in directory.path.iterdir() if file.is_file())
            finished.setdefault(recipe(identity, status.lineage), []).append((status, size))
    return {name: _rate(stages) for name, stages in finished.items()}


def _rate(stages: Sequence[tuple[Status, int]]) -> Rate:
    """Return the rate of those of a recipe's stages that ran where the last one did."""
    last, _ = max(stages, key=lambda stage: stage[0].finished or 0.0)
    own = [(status, size) for status, size in stages if status.device == last.device]
    seconds = sum(status.wall_seconds or 0.0 for status, _ in own)
    memory = max(status.peak_memory_bytes or 0 for status, _ in own)
    return Rate(
        seconds / sum(status.passes or 0 for status, _ in own),
        last.device,
        memory or None,
        max(size for _, size in own),
    )


def measured_rates(stages: Iterable[Stage], runtime: RuntimeConfig) -> dict[str, Rate]:
    """Time a few steps or forward passes of every recipe on this machine."""
    from robust_transfer.training.measure import seconds_per_forward, seconds_per_step

    rates: dict[str, Rate] = {}
    for stage in stages:
        key, here = recipe(stage.identity, stage.lineage), "this machine"
        if key in rates or isinstance(stage.config, CheckpointConfig):
            continue
        if isinstance(stage.config, TrainingConfig):
            own = dataclasses.replace(runtime, devices=stage_devices(stage, runtime))
            seconds = seconds_per_step(stage.config, stage.model, own, num_classes=10)
            rates[key] = Rate(seconds / (stage.config.batch_size * passes_per_image(stage.config)), here)
        else:
            kind = stage.config.arithmetic
            rates[key] = Rate(seconds_per_forward(stage.model, runtime, kind_of_arithmetic=kind), here)
    return rates
