"""BatchNorm over the batches of all processes: torch's on GPUs, a small one of ours on the CPU.

torch.nn.SyncBatchNorm refuses CPU tensors, and the promise that the number of processes changes no result is
tested on CPUs.
"""

# B local batch, C channels

from __future__ import annotations

import torch
from torch import Tensor, nn

from robust_transfer.distributed.collectives import all_sum


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm1d and 2d whose statistics are those of all processes' images; same keys as torch's."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least two dimensions (found {input.dim()})")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) by the statistics of all processes; in eval mode by the running ones."""
        if not self.training:
            return super().forward(input)
        # As torch's does: statistics of bfloat16 images are taken in float32.
        given, input = input.dtype, input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [0, *range(2, input.dim())]
        count = all_sum(input.new_tensor(float(input.numel() // input.shape[1])))
        # Two passes: the difference of two large sums would lose the variance of a channel far from zero.
        mean = all_sum(input.sum(axes)) / count
        centered = input - _per_channel(mean, input)
        variance = all_sum(centered.square().sum(axes)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        assert self.weight is not None
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centered * _per_channel(scale, input) + _per_channel(self.bias, input)).to(given)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


def synchronise(model: nn.Module, device: torch.device) -> None:
    """Replace every BatchNorm inside `model` by a synchronised one with the same parameters and buffers."""
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call, unused-ignore]
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, _convert(child))


def _convert(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> CPUSyncBatchNorm:
    converted = CPUSyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
    converted.weight, converted.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(converted, name, buffer)
    converted.train(norm.training)
    return converted
