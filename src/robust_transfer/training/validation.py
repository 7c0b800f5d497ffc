"""The score a plateau schedule watches: accuracy on held-out images, under the method's own perturbation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core.numerics import autocast
from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.loaders import Batch, evaluation_batches
from robust_transfer.data.transforms import Transform
from robust_transfer.distributed.context import Context
from robust_transfer.distributed.devices import choose_workers
from robust_transfer.models.modes import eval_mode
from robust_transfer.objectives import Objective, Views
from robust_transfer.training.layout import memory_layout
from robust_transfer.training.noise import KeyedNoise
from robust_transfer.training.prefetch import STREAMING, on_device
from robust_transfer.training.step import local_micro_batch

EPOCH = -1  # no epoch of training has it: the same noise every time, and none that was trained on


def validator(
    dataset: ImageDataset,
    transform: Transform,
    objective: Objective,
    *,
    config: TrainingConfig,
    runtime: RuntimeConfig,
    context: Context,
) -> Callable[[nn.Module], float]:
    """Return a function from the model to its accuracy on `dataset`, over all processes.

    AT is scored on images that the training attack has changed, CR on one noisy copy, ST on clean images.
    No forward pass has more images than one of training.
    """
    indices = list(range(len(dataset)))[context.rank :: context.world_size]
    whole = max(1, config.batch_size // context.world_size)
    batches = evaluation_batches(
        dataset,
        indices,
        transform,
        batch_size=local_micro_batch(config.micro_batch, context.world_size) or whole,
        num_workers=choose_workers(runtime.num_workers, device=context.device),
        pin_memory=context.device.type in STREAMING,
    )

    def score(model: nn.Module) -> float:
        correct, seen = torch.zeros((), dtype=torch.int64, device=context.device), 0
        layout = memory_layout(model, context.device, channels_last=runtime.channels_last)
        with eval_mode(model):
            for batch in on_device(batches, context.device):
                if len(batch.indices):
                    correct += _num_correct(model, batch, objective, config, context, layout)
                    seen += len(batch.indices)
        counts = context.sum(torch.tensor([int(correct), seen], dtype=torch.float64))
        return float(counts[0] / counts[1])

    return score


def _num_correct(
    model: nn.Module,
    batch: Batch,
    objective: Objective,
    config: TrainingConfig,
    context: Context,
    layout: torch.memory_format,
) -> Tensor:
    """Return how many images of a batch are right under the method's perturbation, on the device."""
    dtype = next(model.parameters()).dtype
    images = (batch.images[0].to(dtype) / 255).contiguous(memory_format=layout)
    positions = tuple(batch.indices.tolist())
    noise = KeyedNoise(config.seed, EPOCH, positions, tuple(images.shape[1:]), context.device, dtype)
    with autocast(config.precision, context.device):
        views = Views((images,), batch.labels, batch.indices)
        perturbed = objective.perturbed(model, views, noise)
        with torch.no_grad():
            predictions: Tensor = model(perturbed).argmax(1)
    return (predictions == batch.labels).sum()
