"""One optimiser step: the model as it is trained, and the passes over a batch."""

# B images of one step and process, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import cast

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import TrainingConfig
from robust_transfer.config.runtime import RuntimeConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.numerics import autocast
from robust_transfer.data import device_views
from robust_transfer.data.loaders import Batch
from robust_transfer.distributed.context import Context, accumulating
from robust_transfer.objectives import Metrics, Objective, Progress, Views
from robust_transfer.training.activation_checkpointing import checkpoint_blocks
from robust_transfer.training.gradient_cache import cached_backward
from robust_transfer.training.layout import compile_options, memory_layout
from robust_transfer.training.noise import KeyedNoise
from robust_transfer.training.sync_batchnorm import synchronise


def prepare(
    model: nn.Module,
    objective: Objective,
    runtime: RuntimeConfig,
    context: Context,
    references: Mapping[str, nn.Module],
) -> nn.Module:
    """Return the network that is trained, on its device and in its layout; `model` is it or within it."""
    trained = objective.training_model(model, references)
    if context.world_size > 1 and runtime.sync_batchnorm:
        synchronise(trained, context.device)
    trained.to(context.device).to(memory_format=_layout(trained, runtime, context))
    if runtime.activation_checkpointing:
        checkpoint_blocks(trained)
    if runtime.compile:
        # In place: the attack, which calls the module inside the wrapper, runs compiled too.
        trained.compile(options=compile_options(trained, context.device))
    return trained


@dataclass(frozen=True)
class _Part:
    """A part of a batch that passes the network together (a micro-batch), and its share of the images."""

    views: Views
    noise: KeyedNoise
    weight: float


class TrainStep:
    """One optimiser step over a batch, in one or several forward passes."""

    def __init__(
        self,
        trained: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        config: TrainingConfig,
        runtime: RuntimeConfig,
        context: Context,
    ) -> None:
        self.optimizer, self.objective, self.config, self.context = optimizer, objective, config, context
        self.trained = trained
        self.wrapped, self.share = context.wrap(trained), not runtime.sync_batchnorm
        self.dtype = next(trained.parameters()).dtype
        self.layout = _layout(trained, runtime, context)
        micro = local_micro_batch(config.micro_batch, context.world_size)
        caches = config.spec.caches
        self.micro: int | None = None if caches else micro
        self.cached: int | None = micro if caches else None

    def __call__(self, batch: Batch, progress: Progress) -> Metrics:
        """Return the loss and the metrics, averaged over the local images."""
        self.objective.train_mode(self.trained)
        parts = [self._prepared(part, progress) for part in self._parts(batch)]

        def backward() -> Metrics:
            return self._backward(parts, progress)

        with self.objective.around_step(self.trained, backward, progress):
            values = backward()
            self.objective.after_backward(self.trained, progress)
            values |= self._clipped()
            self.optimizer.step()
        if self.share:
            # Statistics of its own would be lost to a process at a resume: a checkpoint holds process 0's.
            self.context.share_buffers(self.trained)
        return values

    def _backward(self, parts: Sequence[_Part], progress: Progress) -> Metrics:
        """Leave the gradients of the batch in the parameters; return its loss and metrics."""
        totals: Metrics = {}
        self.optimizer.zero_grad(set_to_none=True)
        if self.cached is not None:
            (whole,) = parts
            loss, metrics = self._cached_backward(whole, progress, self.cached)
            return {"loss": loss.detach(), **metrics}
        for part in parts:
            with nullcontext() if part is parts[-1] else accumulating(self.wrapped):
                with autocast(self.config.precision, self.context.device):
                    loss, metrics = self.objective(self.wrapped, part.views, part.noise, progress)
                torch.autograd.backward(loss * part.weight)
            for name, value in {"loss": loss, **metrics}.items():
                totals[name] = totals.get(name, 0.0) + value.detach() * part.weight
        return totals

    def _cached_backward(self, whole: _Part, progress: Progress, size: int) -> tuple[Tensor, Metrics]:
        def loss(network: Callable[[Tensor], Tensor]) -> tuple[Tensor, Metrics]:
            return self.objective(cast(nn.Module, network), whole.views, whole.noise, progress)

        with autocast(self.config.precision, self.context.device):
            return cached_backward(loss, self.wrapped, len(whole.views.images), size)

    def _clipped(self) -> Metrics:
        """Shorten the batch's gradient where it is too long; return the norm that it had."""
        if self.config.clip_grad_norm is None:
            return {}
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip_grad_norm)
        return {"grad_norm": norm}

    def _prepared(self, part: _Part, progress: Progress) -> _Part:
        with autocast(self.config.precision, self.context.device):
            return replace(part, views=self.objective.prepare(self.trained, part.views, part.noise, progress))

    def _parts(self, batch: Batch) -> list[_Part]:
        """Bring a batch to the device and cut it into what passes the network together."""
        views = [self._to_float(*view) for view in zip_longest(batch.images, batch.drawn)]
        labels = batch.labels.to(self.context.device, non_blocking=True)
        size = len(batch.indices)
        parts = []
        for start in range(0, size, self.micro or size):
            rows = slice(start, min(start + (self.micro or size), size))
            indices = batch.indices[rows]
            noise = KeyedNoise(
                self.config.seed,
                batch.epoch,
                tuple(indices.tolist()),
                tuple(views[0].shape[1:]),
                self.context.device,
                self.dtype,
            )
            images = tuple(view[rows] for view in views)
            parts.append(_Part(Views(images, labels[rows], indices), noise, len(indices) / size))
        return parts

    def _to_float(self, view: Tensor, drawn: Tensor | None) -> Tensor:
        # A quarter of the bytes travels; equal to torchvision's ToTensor in the worker.
        moved = view.to(self.context.device, non_blocking=True)
        scaled = moved.to(self.dtype).div_(255) if drawn is None else device_views.finish(moved, drawn)
        return scaled.to(self.dtype).contiguous(memory_format=self.layout)


def _layout(trained: nn.Module, runtime: RuntimeConfig, context: Context) -> torch.memory_format:
    return memory_layout(trained, context.device, channels_last=runtime.channels_last)


def local_micro_batch(micro_batch: int | None, world_size: int) -> int | None:
    """Return the images of one process in one forward pass of `micro_batch` images over all processes."""
    if micro_batch is not None and micro_batch % world_size:
        raise ConfigError(
            f"micro_batch={micro_batch} is not divisible by {world_size} devices",
            f"micro_batch={micro_batch // world_size * world_size or world_size}",
        )
    return micro_batch and micro_batch // world_size
