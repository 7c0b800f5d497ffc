"""A loss over a whole batch whose network passes it in parts: contrastive learning beyond memory.

Gao et al. 2021 (arXiv 2101.06983). The parts pass without gradients, the loss of all outputs gives the
gradient of each, and the parts pass again to carry theirs back: one more forward pass, and the whole batch's
gradient.
"""

# V views, B local batch, C channels, H/W pixels, D outputs of an image

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from robust_transfer.distributed.context import accumulating
from robust_transfer.objectives import Metrics
from robust_transfer.training.activation_checkpointing import statistics_kept

Loss = Callable[[Callable[[Tensor], Tensor]], tuple[Tensor, Metrics]]


def cached_backward(loss: Loss, network: nn.Module, num_views: int, part_size: int) -> tuple[Tensor, Metrics]:
    """Leave the gradient of a loss over the whole batch in the parameters; return loss and metrics.

    Parameters
    ----------
    loss : calls the function that it is given once, as it would the network, with all views one after
        another: (V x B, C, H, W) -> (V x B, D)
    network : in the mode of training; its BatchNorm layers normalise over a part, and count each part once
    part_size : images that pass together, each in all its views
    """
    passed = _Passed(network, num_views, part_size)
    value, metrics = loss(passed)
    torch.autograd.backward(value)
    for number, images in enumerate(passed.parts):
        last = number == len(passed.parts) - 1
        with nullcontext() if last else accumulating(network):
            torch.autograd.backward(network(images), passed.gradient(number))
    return value, metrics


class _Passed:
    """Stands for the network in the loss: its outputs, of which each is a leaf that gathers its gradient."""

    def __init__(self, network: nn.Module, num_views: int, part_size: int) -> None:
        self.network, self.num_views, self.part_size = network, num_views, part_size
        self.parts: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.parts = self._cut(images)
        with torch.no_grad(), statistics_kept(self.network):
            outputs = [self.network(part) for part in self.parts]
        by_view = zip(*(output.chunk(self.num_views) for output in outputs), strict=True)
        self.outputs = torch.cat([torch.cat(view) for view in by_view]).requires_grad_()
        return self.outputs

    def gradient(self, number: int) -> Tensor:
        """Return the gradient of a part's outputs."""
        assert self.outputs.grad is not None, "the loss is of the outputs"
        return self._cut(self.outputs.grad)[number]

    def _cut(self, values: Tensor) -> list[Tensor]:
        views = [view.split(self.part_size) for view in values.chunk(self.num_views)]
        return [torch.cat(part) for part in zip(*views, strict=True)]
