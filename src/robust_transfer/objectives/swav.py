"""SwAV: views of an image predict each other's prototypes (Caron et al. 2020, arXiv 2006.09882)."""

# B local batch, D features of the projection, P prototypes, Q queue, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import SwAVConfig
from robust_transfer.config.methods.swav import ASSIGNING
from robust_transfer.core import rng
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.distributed.collectives import gather
from robust_transfer.distributed.context import unwrap
from robust_transfer.objectives.heads import ContrastiveModel, attached, mlp
from robust_transfer.objectives.moco import enqueue
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen
from robust_transfer.objectives.whole_batch import everyones, own


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Return assignments (B, P) of images to prototypes, each image's summing to 1, of scores (B, P).

    Caron et al. 2020, equations 3 to 5: as near to the scores as they may be while all prototypes are used
    alike over the images of all processes, which holds the better the more iterations there are. By
    logarithms: small values of epsilon do not overflow.
    """
    logs = widen(scores) / epsilon
    for _ in range(iterations):
        logs = logs - gather(logs.logsumexp(0, keepdim=True)).logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()


def swav_loss(scores: Sequence[Tensor], assignments: Sequence[Tensor], temperature: float) -> Tensor:
    """Return the mean cross-entropy of every view's scores with the assignments of every other view.

    Caron et al. 2020, equation 2 and section 3.2; no gradient reaches the assignments.

    Parameters
    ----------
    scores : (B, P) a view: cosines to the prototypes
    assignments : (B, P) of the first views
    """
    logs = [torch.log_softmax(widen(of_view) / temperature, dim=1) for of_view in scores]
    losses = [
        -(assignment.detach() * log).sum(1).mean()
        for assigning, assignment in enumerate(assignments)
        for view, log in enumerate(logs)
        if view != assigning
    ]
    return torch.stack(losses).mean()


class Clustering(nn.Module):
    """A contrastive model, prototypes of its projections, and past projections of the assigning views."""

    queue: Tensor
    queue_position: Tensor

    def __init__(self, online: ContrastiveModel, prototypes: nn.Linear, queue_size: int) -> None:
        super().__init__()
        self.online, self.prototypes = online, prototypes
        weight = prototypes.weight
        self.register_buffer("queue", weight.new_zeros(ASSIGNING, queue_size, weight.shape[1]).detach())
        position = torch.zeros(ASSIGNING, dtype=torch.int64, device=weight.device)
        self.register_buffer("queue_position", position)

    def forward(self, *sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Map views of each size (V B, C, H, W) to projections of unit length and scores, in their order."""
        features = torch.cat([self.online.features(views) for views in sizes])
        projections = functional.normalize(self.online.head(features), dim=1)
        return projections, self.prototypes(projections)


class SwAV(Objective):
    """Two views of full size are assigned to prototypes; every view predicts the others' assignments.

    Prototypes have unit length before every step and stay in the first ones. BatchNorm sees all views of one
    size together.

    Note: the release keeps a part of the queue in each process; here every process holds it whole and
    assigns its share of it, which gives the same sums. It cuts the queue to a multiple of the batch. Losses,
    gradients and queue of six steps are its own (difference below 1e-10).
    """

    def __init__(self, config: SwAVConfig) -> None:
        self.config = config
        self.projections: list[Tensor] = []  # of the step under way, an assigning view each

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the published augmentation: two views of full size, then the small ones."""

        def maker(size: int, area: tuple[float, float]) -> MakeView:
            recipe = ViewRecipe(
                size,
                area,
                jitter=(0.8, 0.8, 0.8, 0.2),
                p_jitter=0.8,
                p_gray=0.2,
                p_blur=0.5 if self.config.blur else 0.0,
            )
            return view_maker(recipe, self.config.augment_on)

        small = maker(round(self.config.small_side * image_size), (0.05, 0.14))
        return (maker(image_size, (0.14, 1.0)),) * ASSIGNING + (small,) * self.config.small_views

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put the head behind a model without classes, and prototypes behind that."""
        config = self.config
        sizes = (config.projection_hidden, config.projection_dim)
        head = attached(
            model, config.seed, lambda length: mlp([length, *sizes], bias=[True, True], norm=True)
        )
        with rng.global_state(config.seed, "prototypes"):
            prototypes = nn.Linear(config.projection_dim, config.num_prototypes, bias=False)
        parameter = next(model.parameters())
        prototypes.to(parameter.device, parameter.dtype)
        return Clustering(ContrastiveModel(model, head), prototypes, config.queue_size)

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the features."""
        return trained.get_submodule("online.features")

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Bring the prototypes to unit length before the step; keep its projections after it."""
        weight = trained.get_parameter("prototypes.weight")
        with torch.no_grad():
            weight.copy_(functional.normalize(weight, dim=1))
        self.projections.clear()
        yield
        if self.config.queue_size and progress.epoch >= self.config.queue_start_epoch:
            queues, places = trained.get_buffer("queue"), trained.get_buffer("queue_position")
            for queue, place, of_view in zip(queues, places, self.projections, strict=True):
                enqueue(queue, place, everyones(of_view))
        self.projections.clear()

    def after_backward(self, trained: nn.Module, progress: Progress) -> None:
        """Take the prototypes' gradients away while they stay: neither momentum nor decay then moves them."""
        if progress.step < self.config.freeze_steps:
            trained.get_parameter("prototypes.weight").grad = None

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, and the mean of the largest share of an assignment (1 / P: stuck)."""
        full, small = batch.images[:ASSIGNING], batch.images[ASSIGNING:]
        sizes = [torch.cat(views) for views in (full, small) if views]
        projections, scores = (outputs.chunk(len(batch.images)) for outputs in model(*sizes))
        self.projections[:] = [of_view.detach() for of_view in projections[:ASSIGNING]]
        queue = cast(Clustering, unwrap(model)).queue if self._queue_is_full(progress) else None
        prototypes = cast(Clustering, unwrap(model)).prototypes
        assignments = []
        for view in range(ASSIGNING):
            with torch.no_grad():
                past = [prototypes(own(queue[view]))] if queue is not None else []
            all_scores = torch.cat([scores[view].detach(), *past])
            assignment = sinkhorn(all_scores, self.config.epsilon, self.config.sinkhorn_iterations)
            assignments.append(assignment[: len(scores[view])])
        certainty = torch.cat(assignments).amax(1).mean()
        return swav_loss(scores, assignments, self.config.temperature), {"certainty": certainty}

    def _queue_is_full(self, progress: Progress) -> bool:
        """Tell by the steps since its start, so that nothing waits for the device."""
        since = progress.step - self.config.queue_start_epoch * progress.steps_per_epoch
        return 0 < self.config.queue_size <= since * self.config.batch_size
