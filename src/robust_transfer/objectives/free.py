"""Free AT: attack and training share each backward pass (Shafahi et al. 2019, arXiv 1904.12843)."""

# B local batch, N images of a step over all processes, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from robust_transfer.attacks.threat import direction, l2_norms
from robust_transfer.config.methods import FreeConfig
from robust_transfer.objectives.inner_attack import attacked, summed_cross_entropy
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify
from robust_transfer.objectives.whole_batch import everyones, own


def free_perturbation(
    perturbation: Tensor, gradient: Tensor, *, norm: str, eps: float, step_size: float
) -> Tensor:
    """Return perturbations (B, C, H, W) one step further along the loss's gradient, within the ball.

    Shafahi et al. 2019, algorithm 1: the box of the images does not matter here. Without gradient a
    perturbation stays.
    """
    moved = perturbation + step_size * direction(gradient, norm=norm)
    if norm == "linf":
        return moved.clamp(-eps, eps)
    return moved * (eps / l2_norms(moved).clamp(min=eps))


class FreeModel(nn.Module):
    """A classifier, and the perturbations (N, 3, H, W) of a batch's places, carried from step to step."""

    perturbation: Tensor

    def __init__(self, classifier: nn.Module, batch_size: int) -> None:
        super().__init__()
        self.classifier = classifier
        side, parameter = cast(int, classifier.image_size), next(classifier.parameters())
        zeros = torch.zeros(batch_size, 3, side, side, device=parameter.device, dtype=parameter.dtype)
        self.register_buffer("perturbation", zeros)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, K) logits."""
        logits: Tensor = self.classifier(images)
        return logits


class Free(Objective):
    """Cross-entropy of perturbed images; its gradient moves the weights and, for the next step, the images.

    A batch is trained on `replays` times in turn; the next one begins with the last one's perturbations,
    place by place. Perturbed images are clipped to [0, 1] in the graph: a saturated pixel has no gradient.

    Note: L2 is ours; the paper has L-infinity alone, where steps are the release's to the bit. The release
    does not save the perturbations; here a checkpoint holds them, for all processes.
    """

    def __init__(self, config: FreeConfig) -> None:
        self.config = config
        self.place = 0  # in the local batch, of the part that is prepared next
        self.parts: list[Tensor] = []  # perturbations of the step under way, with their gradients

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Keep perturbations beside the model."""
        return FreeModel(model, self.config.batch_size)

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the classifier."""
        return trained.get_submodule("classifier")

    def train_mode(self, trained: nn.Module) -> None:
        """Begin a step at the first place of the batch."""
        trained.train()
        self.place = 0
        self.parts.clear()

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the images and the perturbations of their places."""
        count = len(batch.images[0])
        carried = own(model.get_buffer("perturbation"))[self.place : self.place + count]
        self.place += count
        return batch._replace(images=(batch.images[0], carried.clone()))

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Move the perturbations by the gradient of the step, taken at the weights before it."""
        yield
        config = self.config
        moved = [
            free_perturbation(
                part.detach(), part.grad, norm=config.norm, eps=config.eps, step_size=config.eps
            )
            for part in self.parts
            if part.grad is not None
        ]
        perturbations = everyones(torch.cat(moved))
        trained.get_buffer("perturbation")[: len(perturbations)] = perturbations

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean cross-entropy of the perturbed images and the accuracy on them."""
        images, carried = batch.images
        self.parts.append(carried.requires_grad_())
        loss, accuracy = classify(model((images + carried).clamp(0, 1)), batch.labels)
        return loss, {"robust_accuracy": accuracy}

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return images of larger loss within the threat, by PGD of as many steps as there are replays."""
        config = self.config
        return attacked(
            model,
            batch.images[0],
            loss=partial(summed_cross_entropy, model, labels=batch.labels),
            norm=config.norm,
            eps=config.eps,
            num_steps=config.replays,
            step_size=2 * config.eps / config.replays,
            start=noise("start", 0),
        )
