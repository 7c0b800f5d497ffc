"""BatchNorm over fixed groups of a batch's images, whatever the number of processes."""

# B local images in G groups of S, C channels

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.core.errors import ConfigError
from robust_transfer.distributed.collectives import all_sum, world_size
from robust_transfer.objectives.heads import sharing_copy


class GroupedBatchNorm(nn.Module):
    """A BatchNorm whose statistics in training are those of a group; the running ones move by their mean.

    Every G-th image of a batch is in the same group. As processes take the images of a batch by turns, a
    group lies on one process, and it holds the same images on any number of them.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, group: int) -> None:
        super().__init__()
        self.norm, self.group = norm, group

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...); a batch smaller than a group is one."""
        norm = self.norm
        if not norm.training:
            output: Tensor = norm(input)
            return output
        size = min(self.group, len(input))
        if len(input) % size:
            raise ConfigError(f"pretrain.bn_group={size} does not divide the {len(input)} images of a device")
        groups = input.unflatten(0, (size, -1))
        axes = [0, *range(3, groups.dim())]
        with torch.no_grad():
            variance, mean = torch.var_mean(groups, axes)  # (G, C)
            self._track(mean.mean(0), variance.mean(0))
        # Groups beside channels: each pair is a channel of its own.
        alone = functional.batch_norm(groups.flatten(1, 2), None, None, training=True, eps=norm.eps)
        shape = (1, -1, *[1] * (input.dim() - 2))
        return alone.reshape(input.shape) * norm.weight.view(shape) + norm.bias.view(shape)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        norm, count = self.norm, world_size()
        assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
        norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        norm.running_mean.lerp_((all_sum(mean) / count).to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_((all_sum(variance) / count).to(norm.running_var.dtype), norm.momentum)


def group_norms(model: nn.Module, group: int) -> None:
    """Put a GroupedBatchNorm around every BatchNorm of the model."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, GroupedBatchNorm(child, group))


def without_groups(model: nn.Module) -> nn.Module:
    """Return the network with its BatchNorms alone: other modules, the same tensors, keys as before."""
    plain = sharing_copy(model)
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, GroupedBatchNorm):
                setattr(parent, name, child.norm)
    return plain
