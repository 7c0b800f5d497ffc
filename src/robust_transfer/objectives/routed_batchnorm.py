"""Several BatchNorms in one network: clean and attacked images have statistics, scales and shifts each.

Xie et al. 2020 (arXiv 1911.09665). Everything else is shared. Which part of a batch takes which route is set
for a whole step and not switched between two passes: with activation checkpointing a block is computed again
in the backward pass, when a switch would stand elsewhere. One pass over all parts equals a pass for each, as
no other layer mixes images.
"""

# B images, C channels

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robust_transfer.objectives.heads import sharing_copy

Segments = tuple[tuple[int, int], ...]  # (route, images that take it), in the order of the batch


class RoutedBatchNorm(nn.Module):
    """BatchNorms of one place in a network, a route each."""

    def __init__(self, norm: nn.Module, num_routes: int) -> None:
        super().__init__()
        self.routes = nn.ModuleList(copy.deepcopy(norm) for _ in range(num_routes))
        self.segments: Segments = ()

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...), each segment by its route."""
        counts = [count for _, count in self.segments]
        parts = zip(self.segments, input.split(counts), strict=True)
        return torch.cat([self.routes[route](part) for (route, _), part in parts])


def add_routes(model: nn.Module, num_routes: int) -> None:
    """Put a RoutedBatchNorm in the place of every BatchNorm; each route begins as the one that was there."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, RoutedBatchNorm(child, num_routes))


def set_routes(model: nn.Module, segments: Sequence[tuple[int, int]]) -> None:
    """Say which images of the batches to come take which route."""
    for layer in _layers(model):
        layer.segments = tuple(segments)


@contextmanager
def routed(model: nn.Module, segments: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Set the routes for the passes inside the block, which must have no backward pass outside of it."""
    before = [(layer, layer.segments) for layer in _layers(model)]
    set_routes(model, segments)
    try:
        yield
    finally:
        for layer, old in before:
            layer.segments = old


def of_route(model: nn.Module, route: int) -> nn.Module:
    """Return the network of one route alone: other modules, the same tensors, keys as before `add_routes`."""
    single = sharing_copy(model)
    for parent in list(single.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, RoutedBatchNorm):
                setattr(parent, name, child.routes[route])
    return single


def _layers(model: nn.Module) -> list[RoutedBatchNorm]:
    return [module for module in model.modules() if isinstance(module, RoutedBatchNorm)]
