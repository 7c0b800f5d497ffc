"""MoCo v2: contrast an image with a queue of a slow copy's keys (He et al. 2020, arXiv 1911.05722)."""

# B local batch, N = B x processes, D features of the projection, Q keys in the queue, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import MoCoConfig
from robust_transfer.core import rng
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.distributed.collectives import world_size
from robust_transfer.distributed.context import unwrap
from robust_transfer.objectives.grouped_batchnorm import group_norms, without_groups
from robust_transfer.objectives.heads import ContrastiveModel, attached, mlp
from robust_transfer.objectives.momentum import follow, follower
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen
from robust_transfer.objectives.whole_batch import everyones, own


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return the mean over images of -log softmax of its key among its key and the queue.

    He et al. 2020, equation 1. Inputs are normalised here; no gradient reaches keys and queue. Computed in
    at least float32 with autocast off.

    Parameters
    ----------
    queries, keys : (B, D) projections of two views, the second by the slow copy
    queue : (Q, D) keys of other images
    """
    with torch.autocast(queries.device.type, enabled=False):
        queries, keys, queue = (functional.normalize(widen(x), dim=1) for x in (queries, keys, queue))
        positive = (queries * keys.detach()).sum(1, keepdim=True)
        logits = torch.cat((positive, queries @ queue.detach().T), dim=1) / temperature
        return (logits.logsumexp(1) - logits[:, 0]).mean()


@torch.no_grad()
def enqueue(queue: Tensor, position: Tensor, keys: Tensor) -> None:
    """Write keys (N, D) into the queue (Q, D) from `position` () on, around its end; move the position.

    Of more than Q keys the last Q stay, where they would have fallen.
    """
    places = (position + torch.arange(len(keys), device=keys.device)) % len(queue)
    queue[places[-len(queue) :]] = keys[-len(queue) :].to(queue.dtype)
    position.copy_((position + len(keys)) % len(queue))


class MomentumContrast(nn.Module):
    """A contrastive model for queries, its slow copy for keys, and the queue of past keys."""

    queue: Tensor
    queue_position: Tensor

    def __init__(self, online: nn.Module, queue: Tensor) -> None:
        super().__init__()
        self.online = online
        self.target = follower(online)
        self.register_buffer("queue", queue)
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.int64, device=queue.device))

    def forward(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Map two batches of images (B, C, H, W) to projections (B, D)."""
        return self.online(queries), self.target(keys)


class MoCo(Objective):
    """InfoNCE of the first view against the slow copy's keys of the second; then the keys enter the queue.

    BatchNorm would tell an image by the others of its batch. The release has it over the 32 images of each of
    eight GPUs and sends the keys' images to other GPUs. Here groups of `bn_group` images and one permutation
    of the whole batch, drawn under (seed, epoch, step), do so on any number of devices.

    Note: Q need not be a multiple of the batch; keys enter the queue after the optimiser's step, and the copy
    follows then, which is before the next step's forward pass, where the release does it. Losses, gradients,
    keys and slow copy of three steps are the release's on two processes (difference below 1e-11).
    """

    def __init__(self, config: MoCoConfig) -> None:
        self.config = config
        self.keys: list[Tensor] = []  # of the step under way

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the augmentation of v2, twice."""
        recipe = ViewRecipe(
            image_size,
            area=(0.2, 1.0),
            jitter=(0.4, 0.4, 0.4, 0.1),
            p_jitter=0.8,
            p_gray=0.2,
            p_blur=0.5 if self.config.blur else 0.0,
        )
        view = view_maker(recipe, self.config.augment_on)
        return view, view

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put the head of v2 behind a model without classes, a copy and a queue of random keys beside."""
        config, size = self.config, self.config.projection_dim
        head = attached(model, config.seed, lambda n: mlp([n, n, size], bias=[True, True], norm=False))
        online = ContrastiveModel(model, head)
        group_norms(online, config.bn_group)
        random = functional.normalize(rng.normal((config.queue_size, size), config.seed, "queue"), dim=1)
        parameter = next(model.parameters())
        return MomentumContrast(online, random.to(parameter.device, parameter.dtype))

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the features of the network for queries."""
        return without_groups(trained.get_submodule("online.features"))

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """After the step let the copy follow and the keys of all parts of the batch enter the queue."""
        self.keys.clear()
        try:
            yield
            follow(trained.get_submodule("target"), trained.get_submodule("online"), self.config.ema_decay)
            keys = torch.cat(self.keys)
            enqueue(trained.get_buffer("queue"), trained.get_buffer("queue_position"), keys)
        finally:
            self.keys.clear()

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss against the queue as it was before the step, and the mean cosine of the pairs."""
        first, second = batch.images
        order = self._order(len(second) * world_size(), progress).to(second.device)
        queries, keys = model(first, own(everyones(second)[order]))
        shuffled_keys = everyones(keys.detach())
        batch_keys = torch.empty_like(shuffled_keys)
        batch_keys[order] = shuffled_keys
        batch_keys = functional.normalize(widen(batch_keys), dim=1)
        self.keys.append(batch_keys)
        queue = cast(MomentumContrast, unwrap(model)).queue
        keys = own(batch_keys)
        alignment = functional.cosine_similarity(widen(queries.detach()), keys).mean()
        return info_nce(queries, keys, queue, self.config.temperature), {"alignment": alignment}

    def _order(self, count: int, progress: Progress) -> Tensor:
        keyed = rng.generator(self.config.seed, "shuffle", progress.epoch, progress.step)
        return torch.randperm(count, generator=keyed)
