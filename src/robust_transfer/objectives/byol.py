"""BYOL: predict what a slow copy sees in another view (Grill et al. 2020, arXiv 2006.07733)."""

# B local batch, D features of the projection, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import BYOLConfig
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.objectives.heads import ContrastiveModel, attached, mlp, zero_residuals
from robust_transfer.objectives.momentum import ema_decay, follow, follower
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen


def byol_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared distance of (B, D) predictions and targets at unit length: 2 - 2 cos.

    One direction of Grill et al. 2020, equation 2; the caller adds the other. No gradient reaches the
    targets. Computed in at least float32 with autocast off.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        predictions = functional.normalize(widen(predictions), dim=1)
        targets = functional.normalize(widen(targets.detach()), dim=1)
        return (predictions - targets).square().sum(1).mean()


class PredictiveModel(nn.Module):
    """Features, projector and predictor, and a target without predictor that follows the first two."""

    def __init__(self, features: nn.Module, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.online = ContrastiveModel(features, projector)
        self.predictor = predictor
        self.target = follower(self.online)

    def predict(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to (B, D) predictions."""
        predictions: Tensor = self.predictor(self.online(images))
        return predictions

    @torch.no_grad()
    def aim(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images to the (B, D) projections of the target."""
        projections: Tensor = self.target(images)
        return projections

    def forward(
        self, seen: tuple[Tensor, Tensor], aimed: tuple[Tensor, Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the pairs (prediction, projection) in which each of the views `seen` predicts the other.

        Every view passes on its own: BatchNorm's statistics are those of one view.
        """
        predictions = [self.predict(view) for view in seen]
        projections = [self.aim(view) for view in aimed]
        return list(zip(predictions, reversed(projections), strict=True))


def byol_head(sizes: tuple[int, int, int]) -> nn.Sequential:
    """Build projector or predictor as published: the last layer has no bias and nothing behind it."""
    return mlp(sizes, bias=[True, False], norm=True)


class BYOL(Objective):
    """The sum of both directions; after each optimiser step the target follows.

    Note: brightness is changed by a factor, as torchvision does, where the authors' code adds a number; the
    target begins as a copy, where theirs is drawn anew (they note no difference); the linear classifier that
    they train beside, without effect on the features, is left out. Loss and gradient are those of their JAX
    code (difference below 1e-14).
    """

    def __init__(self, config: BYOLConfig) -> None:
        self.config = config

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the published pair: one always blurred, one rarely blurred and sometimes solarised."""
        return tuple(
            view_maker(recipe, self.config.augment_on)
            for recipe in byol_recipes(image_size, self.config.color_strength, blur=self.config.blur)
        )

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put projector and predictor behind a model without classes, and a target beside it."""
        config = self.config
        hidden, size = config.projection_hidden, config.projection_dim
        if config.zero_init_residual:
            zero_residuals(model)
        projector = attached(model, config.seed, lambda length: byol_head((length, hidden, size)))
        predictor = attached(model, config.seed, lambda _: byol_head((size, hidden, size)), key="predictor")
        return PredictiveModel(model, projector, predictor)

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the online features."""
        return trained.get_submodule("online.features")

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Let the target follow the weights of the step just taken."""
        yield
        assert progress.total is not None, "a plateau needs labels"
        decay = ema_decay(progress.step, progress.total, self.config.ema_decay)
        follow(trained.get_submodule("target"), trained.get_submodule("online"), decay)

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss of the two directions, 0..8, and how far projections spread (0: collapse)."""
        return both_directions(model(batch.images, batch.images))


def both_directions(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Metrics]:
    """Return the summed losses of (prediction, projection) pairs, and the spread of the projections.

    The spread is the standard deviation over the batch of projections at unit length: healthy near
    1 / sqrt(D), 0 where all images are projected to one point.
    """
    spread = functional.normalize(widen(pairs[0][1].detach()), dim=1).std(0, unbiased=False).mean()
    return torch.stack([byol_loss(*pair) for pair in pairs]).sum(), {"projection_std": spread}


def byol_recipes(image_size: int, color_strength: float, *, blur: bool) -> tuple[ViewRecipe, ViewRecipe]:
    """Return the two recipes of Grill et al. 2020, appendix B: (0.4, 0.4, 0.2, 0.1) * color_strength."""
    s = color_strength
    jitter = (0.4 * s, 0.4 * s, 0.2 * s, 0.1 * s)

    def recipe(p_blur: float, p_solarize: float) -> ViewRecipe:
        return ViewRecipe(
            image_size,
            jitter=jitter,
            p_jitter=0.8,
            p_gray=0.2,
            p_blur=p_blur if blur else 0.0,
            p_solarize=p_solarize,
            bicubic=True,
        )

    return recipe(1.0, 0.0), recipe(0.1, 0.2)
