"""DeACL: plain features made robust by distillation (Zhang et al. 2022, arXiv 2207.10899)."""

# B local batch, C channels, H/W pixels, D features

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import DeACLConfig
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.objectives.heads import headless
from robust_transfer.objectives.inner_attack import attacked
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen


def deacl_loss(clean: Tensor, attacked: Tensor, teacher: Tensor, weight: float) -> Tensor:
    """Return -mean cos(clean, teacher) - weight mean cos(attacked, clean) of features (B, D).

    The gradient flows through both sides of the second term; none reaches the teacher. In at least float32.
    """
    return -_cosine(clean, teacher.detach()).mean() - weight * _cosine(attacked, clean).mean()


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return functional.cosine_similarity(widen(first), widen(second), dim=1)


class DeACL(Objective):
    """The student begins as the teacher; attacks push its features away from the teacher's.

    Clean and attacked images pass together, over one BatchNorm. The attack sees the student in eval mode.

    Note: the release trains a classifier with labels beside and loads a second, strong view, neither of which
    reaches the features: both are left out, as are its queue and momentum encoder, which it does not use. Its
    attack starts anywhere in the ball and is clipped to [0, 1] after the first step, ours before it. Points,
    loss and gradient are its own (difference below 1e-13).
    """

    def __init__(self, config: DeACLConfig) -> None:
        self.config = config

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return one weak view: the image moved by up to an eighth of its side, and mirrored by chance."""
        return (view_maker(ViewRecipe(image_size, pad_crop=image_size // 8), self.config.augment_on),)

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Start from the teacher's weights."""
        self.teacher = headless(references["teacher"])
        model.load_state_dict(self.teacher.state_dict())
        return model

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the images, the attacked images and, as a third view, the teacher's features."""
        images, attack = batch.images[0], self.config.attack
        with torch.no_grad():
            teacher_features = self.teacher(images)
        moved = attacked(
            model,
            images,
            loss=lambda points: -_cosine(model(points), teacher_features).sum(),
            norm=attack.norm,
            eps=attack.eps,
            num_steps=attack.num_steps,
            step_size=attack.step_size_at(attack.eps),
            start=noise("start", 0) if attack.random_start else None,
        )
        return batch._replace(images=(images, moved, teacher_features))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, and the mean cosines of clean to teacher's and of attacked to clean features."""
        images, moved, teacher_features = batch.images
        clean, attacked = model(torch.cat((images, moved))).chunk(2)
        metrics = {
            "alignment": _cosine(clean.detach(), teacher_features).mean(),
            "robust_alignment": _cosine(attacked.detach(), clean.detach()).mean(),
        }
        return deacl_loss(clean, attacked, teacher_features, self.config.robustness_weight), metrics
