"""The score a plateau schedule watches: accuracy on held-out images, under the method's own perturbation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.core.numerics import autocast
from robust_transfer.data.dataset import ImageDataset
from robust_transfer.data.loaders import evaluation_batches
from robust_transfer.data.transforms import Transform
from robust_transfer.distributed.context import Context
from robust_transfer.models.modes import eval_mode
from robust_transfer.objectives import Objective, Views
from robust_transfer.training.noise import KeyedNoise

EPOCH = -1  # no epoch of training has it: the same noise every time, and none that was trained on


def validator(
    dataset: ImageDataset,
    transform: Transform,
    objective: Objective,
    *,
    config: TrainingConfig,
    context: Context,
    num_workers: int,
) -> Callable[[nn.Module], float]:
    """Return a function from the model to its accuracy on `dataset`, over all processes.

    AT is scored on images that the training attack has changed, CR on one noisy copy, ST on clean images.
    """
    indices = list(range(len(dataset)))[context.rank :: context.world_size]
    batch_size = max(1, config.batch_size // context.world_size)

    def score(model: nn.Module) -> float:
        correct, seen = 0, 0
        with eval_mode(model):
            for batch in evaluation_batches(
                dataset, indices, transform, batch_size=batch_size, num_workers=num_workers
            ):
                if not len(batch.indices):
                    continue
                dtype = next(model.parameters()).dtype
                images = batch.images[0].to(context.device).to(dtype) / 255
                labels = batch.labels.to(context.device)
                positions = tuple(batch.indices.tolist())
                noise = KeyedNoise(
                    config.seed, EPOCH, positions, tuple(images.shape[1:]), context.device, dtype
                )
                with autocast(config.precision, context.device):
                    views = Views((images,), labels, batch.indices)
                    perturbed = objective.perturbed(model, views, noise)
                    with torch.no_grad():
                        predictions = model(perturbed).argmax(1)
                correct += int((predictions == labels).sum())
                seen += len(labels)
        counts = context.sum(torch.tensor([correct, seen], dtype=torch.float64))
        return float(counts[0] / counts[1])

    return score
