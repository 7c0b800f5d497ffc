"""SimCLR: pull two views of an image together, push all others apart (Chen et al. 2020, arXiv 2002.05709)."""

# B local batch, N = B x processes, D features of the projection, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.config.methods import SimCLRConfig
from robust_transfer.data.loaders import MakeView
from robust_transfer.data.views import two_views
from robust_transfer.distributed.collectives import gather, rank
from robust_transfer.objectives.heads import ContrastiveModel, attached, mlp, zero_residuals
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views, widen


def nt_xent(a: Tensor, b: Tensor, temperature: float, decoupled: bool = False) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy between two views, averaged over both.

    Row i of `a` and row i of `b` are the positive pair; the other 2 (B - 1) rows are its negatives
    (Chen et al. 2020, equation 1). Inputs are normalised here; computed in float32 with autocast off.

    Parameters
    ----------
    a, b : (B, D) projections of the two views, of any length
    temperature : divides the cosine similarities
    decoupled : leave the positive out of the denominator (DCL, Yeh et al. 2022, arXiv 2110.06848)

    Note: the mean over 2B anchors. The authors' release adds the means of the halves: twice this value
    (difference below 1e-13 in float64).
    """
    views = _normalise(a, b)
    return _contrast(views, views, 0, temperature, decoupled)


def nt_xent_of_all(a: Tensor, b: Tensor, temperature: float, decoupled: bool = False) -> Tensor:
    """Return `nt_xent` with the images of all processes as negatives, averaged over the local anchors."""
    local = _normalise(a, b)
    candidates = gather(local.transpose(0, 1)).transpose(0, 1)
    return _contrast(local, candidates, rank() * len(a), temperature, decoupled)


def _normalise(a: Tensor, b: Tensor) -> Tensor:
    """Return both views at unit length, (2, B, D)."""
    return functional.normalize(torch.stack((widen(a), widen(b))), dim=2)


def _contrast(
    anchors: Tensor, candidates: Tensor, offset: int, temperature: float, decoupled: bool
) -> Tensor:
    """Return the loss of anchors (2, B, D), which stand at `offset` among the candidates (2, N, D)."""
    count, total = anchors.shape[1], candidates.shape[1]
    with torch.autocast(anchors.device.type, enabled=False):
        logits = anchors.flatten(0, 1) @ candidates.flatten(0, 1).T / temperature
    positions = torch.arange(count, device=anchors.device) + offset
    own_column = torch.cat((positions, positions + total)).unsqueeze(1)
    positive = torch.cat((positions + total, positions))
    logits = logits.scatter(1, own_column, float("-inf"))
    if not decoupled:
        return functional.cross_entropy(logits, positive)
    attraction = logits.gather(1, positive.unsqueeze(1)).squeeze(1)
    negatives = logits.scatter(1, positive.unsqueeze(1), float("-inf"))
    return (negatives.logsumexp(1) - attraction).mean()


def projection_head(num_inputs: int, num_outputs: int, num_layers: int) -> nn.Sequential:
    """Build the projection head as published: Linear without bias, BatchNorm, ReLU; no ReLU at the end.

    Two layers (SimCLR v1) or three (v2); hidden layers keep the width of the features. The last BatchNorm
    has a scale and no shift, as in the authors' release.
    """
    sizes = [num_inputs] * num_layers + [num_outputs]
    head = mlp(sizes, bias=[False] * num_layers, norm=True, last_norm=True)
    cast(nn.BatchNorm1d, head[-1]).bias.requires_grad_(False)  # stays zero
    return head


class SimCLR(Objective):
    """NT-Xent between two views; the images of all processes are negatives, with gradients."""

    def __init__(self, config: SimCLRConfig) -> None:
        self.config = config

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the published augmentation, twice."""
        return two_views(image_size, self.config.color_strength, self.config.augment_on)

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put a projection head behind a model without classes (`num_classes` 0)."""
        config = self.config
        if config.zero_init_residual:
            zero_residuals(model)
        return ContrastiveModel(
            model,
            attached(
                model,
                config.seed,
                lambda size: projection_head(size, config.projection_dim, config.projection_layers),
            ),
        )

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the features without the projection head."""
        return trained.get_submodule("features")

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the scaled loss of the two views; log it unscaled, and the mean cosine of the pairs."""
        # One pass over both views: BatchNorm sees the views together, as the authors' does.
        a, b = model(torch.cat(batch.images)).chunk(2)
        loss = nt_xent_of_all(a, b, self.config.temperature, self.config.decoupled)
        alignment = functional.cosine_similarity(widen(a.detach()), widen(b.detach())).mean()
        return self.config.loss_scale * loss, {"nt_xent": loss.detach(), "alignment": alignment}
