"""DynACL: ACL under views that get weaker as training goes on (Luo et al. 2023, arXiv 2303.01289)."""

# B local batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robust_transfer.config.methods import DynACLConfig
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import ViewRecipe, view_maker
from robust_transfer.distributed.context import unwrap
from robust_transfer.objectives.acl import ADVERSARIAL, CLEAN, acl_head, attacked_pair
from robust_transfer.objectives.heads import ContrastiveModel, attached
from robust_transfer.objectives.momentum import follow, follower
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views
from robust_transfer.objectives.routed_batchnorm import add_routes, of_route, routed, set_routes
from robust_transfer.objectives.simclr import nt_xent_of_all


def dynacl_schedule(
    epoch: int, num_epochs: int, period: int = 50, rate: float = 2 / 3
) -> tuple[float, float]:
    """Return the strength of the views and the weight of attacked pairs in an epoch, counted from 0.

    The strength falls from 1 in steps, every `period` epochs; the weight is rate (1 - strength). In the
    release the weight changes an epoch before the views do; the paper has one count for both, as here.
    """
    strength = 1 - epoch // period * period / num_epochs
    return strength, rate * (1 - strength)


class MomentumPair(nn.Module):
    """A contrastive model and its slow copy: the one sees first views, the other second ones."""

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.online = online
        self.target = follower(online)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Map two batches of images (B, C, H, W) to projections (B, D)."""
        return self.online(first), self.target(second)


class DynACL(Objective):
    """Clean and attacked pairs, weighted (1 - w) / 2 and (1 + w) / 2; the slow copy is exported.

    The attack's gradient passes both networks, that of the step the first alone.

    Note: the release averages the weights before the optimiser's step, one step behind; it warms up by the
    epoch, and its first epoch stands still. Its attack starts outside of [0, 1] too. At its lag, points, loss
    and gradient are its own (difference below 1e-11). The post-processing of DynACL++ is left out.
    """

    def __init__(self, config: DynACLConfig) -> None:
        self.config = config

    def _schedule(self, epoch: int) -> tuple[float, float]:
        config = self.config
        assert config.epochs is not None, "checked by the config"
        return dynacl_schedule(epoch, config.epochs, config.period, config.weight_rate)

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the views at the epoch's strength; at 0 the whole image or its mirror."""
        s, _ = self._schedule(epoch)
        recipe = ViewRecipe(
            image_size,
            area=(1 - 0.9 * s, 1.0),
            jitter=(0.4 * s, 0.4 * s, 0.4 * s, 0.1 * s),
            p_jitter=0.8 * s,
            p_gray=0.2 * s,
        )
        view = view_maker(recipe, self.config.augment_on)
        return view, view

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put ACL's head behind a model without classes, two BatchNorms in each place, a copy beside."""
        online = ContrastiveModel(model, attached(model, self.config.seed, acl_head))
        add_routes(online, 2)
        return MomentumPair(online)

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the slow copy's features, with the attacked images' BatchNorm."""
        return of_route(trained.get_submodule("target.features"), ADVERSARIAL)

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Let the copy follow the weights of the step just taken."""
        yield
        follow(trained.get_submodule("target"), trained.get_submodule("online"), self.config.ema_decay)

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the two views and the attacked two."""
        first, second = batch.images
        temperature = self.config.temperature

        def pair_loss(images: Tensor) -> Tensor:
            a, b = model(*images.chunk(2))
            return nt_xent_of_all(a, b, temperature)

        with routed(model, ((ADVERSARIAL, len(first)),)):
            pair = attacked_pair(model, first, second, noise, self.config.attack, pair_loss)
        return batch._replace(images=(first, second, *pair))

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the weighted loss of the clean and the attacked pair, and both."""
        first, second, *pair = batch.images
        temperature = self.config.temperature
        # For the backward pass too, in which activation checkpointing computes forward again.
        set_routes(unwrap(model), ((CLEAN, len(first)), (ADVERSARIAL, len(first))))
        online, target = model(torch.cat((first, pair[0])), torch.cat((second, pair[1])))
        clean, adversarial = (
            nt_xent_of_all(a, b, temperature) for a, b in zip(online.chunk(2), target.chunk(2), strict=True)
        )
        _, weight = self._schedule(progress.epoch)
        loss = ((1 - weight) * clean + (1 + weight) * adversarial) / 2
        return loss, {"clean": clean.detach(), "adversarial": adversarial.detach()}
