"""Pre-training by a made-up classification task, under attack (Chen et al. 2020, arXiv 2003.12862)."""

# B local batch, C channels, H/W pixels, K classes of the task, S patches in a row

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import JigsawConfig, RotationConfig
from robust_transfer.core import rng
from robust_transfer.core.errors import ConfigError
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.objectives.heads import ContrastiveModel, attached
from robust_transfer.objectives.inner_attack import attacked, summed_cross_entropy
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, classify, widen


def pretext_loss(clean_logits: Tensor, attacked_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of both cross-entropies, of logits (B, K) and labels (B,), in at least float32."""
    clean = functional.cross_entropy(widen(clean_logits), labels)
    return (clean + functional.cross_entropy(widen(attacked_logits), labels)) / 2


def rotate_quarters(images: Tensor, turns: Tensor) -> Tensor:
    """Turn square images (B, C, H, H) anticlockwise by `turns` (B,) quarters, as numpy's rot90 does."""
    turned = torch.stack([torch.rot90(images, quarter, (2, 3)) for quarter in range(4)])
    rotated: Tensor = turned[turns % 4, torch.arange(len(images), device=images.device)]
    return rotated


def shuffle_patches(images: Tensor, orders: Tensor) -> Tensor:
    """Cut images (B, C, H, W) into S x S patches and show patch orders[:, i] at place i, row by row.

    Parameters
    ----------
    orders : (B, S*S) int64, a permutation an image; S divides H and W
    """
    side = int(orders.shape[1] ** 0.5)
    count, channels, height, width = images.shape
    cut = images.view(count, channels, side, height // side, side, width // side)
    patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, S*S, C, H/S, W/S)
    rows = torch.arange(count, device=images.device).unsqueeze(1)
    shuffled = patches[rows, orders].unflatten(1, (side, side))
    joined: Tensor = shuffled.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
    return joined


class _Pretext(Objective):
    """Half the cross-entropy of changed images and half that of the same images attacked.

    What the classes are drawn from is keyed by (seed, epoch, image). The attack raises the cross-entropy.
    Clean and attacked images pass separately, each with its own batch statistics.

    Note: the release attacks in train mode, so that BatchNorm's statistics move in the attack; here, as
    everywhere, in eval mode. With its attack in eval mode too, points, loss and gradient are its own
    (difference below 1e-13). It deals the classes evenly over a batch, here each image draws its own. It
    keeps the weights that are best on held-out images, here the last ones stay.
    """

    num_labels: int

    def __init__(self, config: RotationConfig | JigsawConfig) -> None:
        self.attack, self.seed, self.augment_on = config.attack, config.seed, config.augment_on

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return one view: the image moved by up to an eighth of its side, and mirrored by chance."""
        return (view_maker(ViewRecipe(image_size, pad_crop=image_size // 8), self.augment_on),)

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put a linear layer for the task's classes behind a model without classes."""
        return ContrastiveModel(
            model,
            attached(model, self.seed, lambda length: nn.Linear(length, self.num_labels), key="pretext"),
        )

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the features without the task's layer."""
        return trained.get_submodule("features")

    def pose(self, model: nn.Module, images: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return changed images (B, C, H, W) and their classes (B,)."""
        raise NotImplementedError

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the changed images, the same attacked, and the task's labels."""
        images, labels = self.pose(model, batch.images[0], noise)
        attack = self.attack
        moved = attacked(
            model,
            images,
            loss=lambda points: summed_cross_entropy(model, points, labels=labels),
            norm=attack.norm,
            eps=attack.eps,
            num_steps=attack.num_steps,
            step_size=attack.step_size_at(attack.eps),
            start=noise("start", 0) if attack.random_start else None,
        )
        return batch._replace(images=(images, moved), labels=labels)

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss and the task's accuracy on clean and on attacked images."""
        clean, moved = (model(view) for view in batch.images)
        accuracies = [classify(logits.detach(), batch.labels)[1] for logits in (clean, moved)]
        metrics = dict(zip(("accuracy", "robust_accuracy"), accuracies, strict=True))
        return pretext_loss(clean, moved, batch.labels), metrics


class Rotation(_Pretext):
    """The class is the number of quarters by which an image is turned."""

    num_labels = 4

    def pose(self, model: nn.Module, images: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Turn each image by a number of quarters of its own."""
        turns = (4 * _uniform(noise, "rotation")).long().clamp(max=3)
        return rotate_quarters(images, turns), turns


class Jigsaw(_Pretext):
    """The class is the order of the patches: 0 the right one, the others drawn once, by the seed."""

    def __init__(self, config: JigsawConfig) -> None:
        super().__init__(config)
        self.config, self.num_labels = config, config.num_orders + 1

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Keep the orders beside the task's layer."""
        if cast(int, model.image_size) % self.config.grid:
            raise ConfigError(
                f"pretrain.grid={self.config.grid} does not divide images of {model.image_size} pixels"
            )
        trained = super().training_model(model, references)
        places = self.config.grid**2
        keyed = rng.generator(self.seed, "orders")
        drawn = [torch.randperm(places, generator=keyed) for _ in range(self.config.num_orders)]
        orders = torch.stack([torch.arange(places), *drawn])
        trained.register_buffer("orders", orders.to(next(model.parameters()).device))
        return trained

    def pose(self, model: nn.Module, images: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Shuffle each image's patches by an order of its own."""
        labels = (self.num_labels * _uniform(noise, "jigsaw")).long().clamp(max=self.num_labels - 1)
        labels = labels.masked_fill(_uniform(noise, "in_order") < self.config.p_in_order, 0)
        return shuffle_patches(images, model.get_buffer("orders")[labels]), labels


def _uniform(noise: Noise, purpose: str) -> Tensor:
    """Return a number in 0..1 an image, (B,)."""
    uniform: Tensor = torch.special.ndtr(noise(purpose, 0)[:, 0, 0, 0])
    return uniform
