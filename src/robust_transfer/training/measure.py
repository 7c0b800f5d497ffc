"""Time a few optimiser steps on this machine, for the cost that a plan shows."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from PIL import Image

from robust_transfer.config.methods import SimCLRConfig, TrainingConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import rng
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.data.loaders import Batch
from robust_transfer.data.views import two_views
from robust_transfer.distributed.context import single
from robust_transfer.distributed.devices import choose_devices, choose_kind
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import build_model
from robust_transfer.objectives import build
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.step import Stepper, prepare

WARM_UP, MEASURED = 2, 3
IMAGES_ON_CPU = 8  # a processor's time is proportional to the images, and a whole batch takes minutes


def seconds_per_step(
    config: TrainingConfig, model: ModelConfig, runtime: RuntimeConfig, *, num_classes: int
) -> float:
    """Return the seconds of one optimiser step on all devices of this machine, without reading images.

    One device is measured with its share of the batch; what the devices have to tell each other is not in it.
    """
    kind = choose_kind(runtime.device)
    devices = choose_devices(runtime.devices, batch_size=config.batch_size, device_kind=kind)
    share = config.batch_size // devices
    size = min(share, IMAGES_ON_CPU) if kind == "cpu" else share
    with training_arithmetic(config.precision):
        stepper = synthetic_stepper(config, model, runtime, device=kind, num_classes=num_classes)
        batch = synthetic_batch(stepper, size, model.image_size)
        return timed(lambda: stepper.step(batch), stepper.context.device) * share / size


def synthetic_stepper(
    config: TrainingConfig, model: ModelConfig, runtime: RuntimeConfig, *, device: str, num_classes: int
) -> Stepper:
    """Return a training step of random weights on one device."""
    names = [] if isinstance(config, SimCLRConfig) else [str(i) for i in range(num_classes)]
    network = build_model(
        model.arch,
        num_classes=len(names),
        class_names=names,
        image_size=model.image_size,
        width=model.width,
        normalize=model.normalize,
        seed=config.seed,
    )
    objective, context = build(config), single(device)
    trained = prepare(network, objective, runtime, context)
    optimizer = build_optimizer(trained.parameters(), config)
    return Stepper(trained, optimizer, objective, config, runtime, context)


def synthetic_batch(stepper: Stepper, size: int, image_size: int) -> Batch:
    """Return `size` images of noise with the views that the step needs, on its device."""
    shape = (stepper.objective.num_views, size, 3, image_size, image_size)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng.generator(0, "benchmark"))
    indices = torch.arange(size)
    views = tuple(noise.to(stepper.context.device))
    return Batch(views, indices % 2, indices, 0, drawn=_drawn(stepper.config, size, image_size))


def _drawn(config: TrainingConfig, size: int, image_size: int) -> tuple[torch.Tensor, ...]:
    """Return what is left to do for the views of `size` images, where the device does a part."""
    if not isinstance(config, SimCLRConfig) or config.augment_on == "cpu":
        return ()
    image = Image.new("RGB", (image_size, image_size))
    drawn = []
    for view, make in enumerate(two_views(image_size, config.color_strength, config.augment_on)):
        rows = []
        for index in range(size):
            with rng.global_state(0, "benchmark", index, view):
                rows.append(make(image).drawn)
        drawn.append(torch.stack(rows))
    return tuple(drawn)


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Return the fastest of a few calls, in seconds."""
    seconds = []
    for _ in range(WARM_UP + MEASURED):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[WARM_UP:])


def seconds_per_forward(model: ModelConfig, runtime: RuntimeConfig, *, kind_of_arithmetic: str) -> float:
    """Return the seconds that one image's forward pass takes in an evaluation on one device."""
    kind = choose_kind(runtime.device)
    network = build_model(
        model.arch,
        num_classes=10,
        class_names=[str(k) for k in range(10)],
        image_size=model.image_size,
        width=model.width,
        normalize=model.normalize,
        seed=0,
    )
    fast = fast_inference(network.to(kind).eval(), arithmetic=kind_of_arithmetic, compile=runtime.compile)
    images = torch.zeros(IMAGES_ON_CPU, 3, model.image_size, model.image_size, device=kind)
    with torch.inference_mode():
        return timed(lambda: fast(images), torch.device(kind)) / len(images)
