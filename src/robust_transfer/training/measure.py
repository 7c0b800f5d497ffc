"""Time a few optimiser steps on this machine, for the cost that a plan shows."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from PIL import Image

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core import rng
from robust_transfer.core.numerics import training_arithmetic
from robust_transfer.data.loaders import Batch, stack_views
from robust_transfer.data.transforms import eval_transform
from robust_transfer.distributed.context import single
from robust_transfer.distributed.devices import choose_devices, choose_kind
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import build_model
from robust_transfer.objectives import Progress, build
from robust_transfer.training.optim import build_optimizer
from robust_transfer.training.step import TrainStep, prepare

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
        step = synthetic_step(config, model, runtime, device=kind, num_classes=num_classes)
        batch = synthetic_batch(step, size, model.image_size)
        progress = Progress(step=0, total=1, epoch=0, steps_per_epoch=1)
        return timed(lambda: step(batch, progress), step.context.device) * share / size


def synthetic_step(
    config: TrainingConfig, model: ModelConfig, runtime: RuntimeConfig, *, device: str, num_classes: int
) -> TrainStep:
    """Return a training step of random weights on one device; what the method reads beside is a copy."""
    names = [str(i) for i in range(num_classes)] if config.spec.needs_labels else []
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
    references = {
        name: copy.deepcopy(network).requires_grad_(False).eval().to(context.device)
        for name in config.spec.references(config)
    }
    trained = prepare(network, objective, runtime, context, references)
    optimizer = build_optimizer(objective.param_groups(trained), config)
    return TrainStep(trained, optimizer, objective, config, runtime, context)


def synthetic_batch(step: TrainStep, size: int, image_size: int) -> Batch:
    """Return `size` images of noise as the views that the step needs, images on its device."""
    own = eval_transform(image_size, whole=True)
    makers = [make or own for make in step.objective.views(image_size, epoch=0)]
    samples = []
    for index in range(size):
        pixels = torch.randint(
            0,
            256,
            (image_size, image_size, 3),
            dtype=torch.uint8,
            generator=rng.generator(0, "pixels", index),
        )
        image, views = Image.fromarray(pixels.numpy()), []
        for view, make in enumerate(makers):
            with rng.global_state(0, "benchmark", index, view):
                views.append(make(image))
        samples.append(views)
    images, drawn = stack_views(samples)
    indices = torch.arange(size)
    on_device = tuple(view.to(step.context.device) for view in images)
    return Batch(on_device, indices % 2, indices, 0, drawn=drawn)


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Return the fastest of a few calls, in seconds."""
    seconds = []
    for _ in range(WARM_UP + MEASURED):
        started = time.perf_counter()
        step()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
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
