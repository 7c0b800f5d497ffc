"""ACL: contrastive pre-training on views that PGD has just attacked (Jiang et al. 2020, arXiv 2010.13337)."""

# B local batch, D features of the projection, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import ACLConfig, AttackConfig
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.distributed.context import unwrap
from robust_transfer.models.modes import eval_mode
from robust_transfer.objectives.heads import ContrastiveModel, attached, mlp
from robust_transfer.objectives.inner_attack import attacked
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views
from robust_transfer.objectives.routed_batchnorm import add_routes, of_route, routed, set_routes
from robust_transfer.objectives.simclr import nt_xent_of_all

CLEAN, ADVERSARIAL = 0, 1  # routes


class ACL(Objective):
    """NT-Xent of the attacked pair; DS adds that of the clean pair and halves the sum.

    Attacked and clean images have BatchNorms of their own (A2A has no clean ones, and one). The attack sees
    the model in eval mode, and its negatives are the images of all processes.

    Note: the release has DS alone; A2A and A2S are built from their names. The release's attack starts
    outside of [0, 1] too and is clipped after its first step.
    """

    def __init__(self, config: ACLConfig) -> None:
        self.config = config

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the published augmentation, twice."""
        s = self.config.color_strength
        jitter = (0.4 * s, 0.4 * s, 0.4 * s, 0.1 * s)
        recipe = ViewRecipe(image_size, (0.1, 1.0), jitter=jitter, p_jitter=0.8, p_gray=0.2, bicubic=True)
        view = view_maker(recipe, self.config.augment_on)
        return view, view

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put the head behind a model without classes; give both two BatchNorms in each place."""
        trained = ContrastiveModel(model, attached(model, self.config.seed, acl_head))
        if self.config.variant != "a2a":
            add_routes(trained, 2)
        return trained

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the features without the head, with the BatchNorm of the chosen route."""
        route = CLEAN if self.config.route == "clean" else ADVERSARIAL
        return of_route(trained.get_submodule("features"), route)

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the views that pass in the step: clean ones first, then attacked ones."""
        first, second = batch.images
        config = self.config
        if config.variant == "a2s":
            moved = attacked_first(model, first, second, noise, config.attack, config.temperature)
            return batch._replace(images=(second, moved))

        def pair_loss(images: Tensor) -> Tensor:
            a, b = model(images).chunk(2)
            return nt_xent_of_all(a, b, config.temperature)

        with routed(model, ((ADVERSARIAL, 2 * len(first)),)):
            pair = attacked_pair(model, first, second, noise, config.attack, pair_loss)
        return batch._replace(images=pair if config.variant == "a2a" else (first, second, *pair))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the variant's loss; log the parts of DS."""
        images, temperature = batch.images, self.config.temperature
        half = sum(len(view) for view in images) // 2
        # For the backward pass too, in which activation checkpointing computes forward again.
        set_routes(unwrap(model), ((CLEAN, half), (ADVERSARIAL, half)))
        projections = model(torch.cat(images)).chunk(len(images))
        pairs = zip(projections[::2], projections[1::2], strict=True)
        losses = [nt_xent_of_all(a, b, temperature) for a, b in pairs]
        if len(losses) == 1:
            return losses[0], {}
        clean, adversarial = losses
        parts = {"clean": clean.detach(), "adversarial": adversarial.detach()}
        return (clean + adversarial) / 2, parts


def attacked_pair(
    model: nn.Module,
    first: Tensor,
    second: Tensor,
    noise: Noise,
    attack: AttackConfig,
    loss: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Return both views (B, C, H, W) moved jointly to raise loss(both views in one batch)."""
    both = torch.cat((first, second))
    start = torch.cat((noise("start", 0), noise("start", 1)))
    a, b = moved(model, both, loss, start, attack).chunk(2)
    return a, b


def attacked_first(
    model: nn.Module, first: Tensor, second: Tensor, noise: Noise, attack: AttackConfig, temperature: float
) -> Tensor:
    """Return the first view moved away from the clean second one, whose projections are constant."""
    with eval_mode(model), torch.no_grad(), routed(model, ((CLEAN, len(second)),)):
        goal = model(second)
    with routed(model, ((ADVERSARIAL, len(first)),)):
        return moved(
            model,
            first,
            lambda images: nt_xent_of_all(model(images), goal, temperature),
            noise("start", 0),
            attack,
        )


def moved(
    model: nn.Module,
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    attack: AttackConfig,
) -> Tensor:
    """Return images that raise a mean loss, which is scaled by their number: no gradient gets tiny."""
    return attacked(
        model,
        images,
        loss=lambda points: len(points) * loss(points),
        norm=attack.norm,
        eps=attack.eps,
        num_steps=attack.num_steps,
        step_size=attack.step_size_at(attack.eps),
        start=start if attack.random_start else None,
    )


def acl_head(length: int) -> nn.Sequential:
    """Build the release's head, of the features' width throughout: three layers, BatchNorm at the end too."""
    return mlp([length] * 4, bias=[True, False, False], norm=True, last_norm=True)
