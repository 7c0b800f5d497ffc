"""Logits, loss and input gradient of a compiled copy as one graph, its weights constants there and back.

Where a gradient is asked for, torch.compile keeps weights as inputs and packs none of them. So the gradient
is written out first, as a graph without gradients whose backward convolutions are convolutions too, and that
is compiled: docs/benchmarks.md says what it gains.
"""

# B batch, C channels, H/W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robust_transfer.attacks.losses import LOSSES
from robust_transfer.attacks.model import LogitModel
from robust_transfer.models.fast import FastInference, weights_as_constants

# (points (B, C, H, W), labels (B,), targets (B,)) -> logits (B, K), losses (B,), gradients like the points
Gradient = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
# How far the graph's may be from the copy's own, as a share of the longest. At kinks of ReLUs rounding
# decides: a ResNet-50 with random weights had gradients that were 0.007 from those in float64.
FARTHEST_LOGITS, FARTHEST_GRADIENTS = 1e-3, 0.05


def gradient_graph(
    model: LogitModel, loss: str, points: Tensor, labels: Tensor, targets: Tensor
) -> Gradient | None:
    """Return the graph for inputs of these shapes, compiled when it is first asked for.

    None where there is none: the model is not a compiled copy, not in float32, or not on a CPU, the one
    place where this was measured; or it cannot be traced, or its graph is not the same function.
    """
    copy = model.model
    if not isinstance(copy, FastInference) or not copy.compiled:
        return None
    if copy.kind != "fp32" or points.device.type != "cpu":
        return None
    key = loss, points.shape
    if key not in copy.graphs:
        copy.graphs[key] = _compiled(model, loss, (points, labels, targets))
    graph: Gradient | None = copy.graphs[key]
    return graph


def _compiled(model: LogitModel, loss: str, inputs: tuple[Tensor, Tensor, Tensor]) -> Gradient | None:
    def function(points: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def total(points: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            logits = model(points)
            losses = LOSSES[loss](logits, labels, targets)
            # A sum, so that the gradient of an image does not depend on the batch.
            return losses.sum(), (logits, losses)

        gradients, (logits, losses) = torch.func.grad(total, has_aux=True)(points)
        return logits, losses, gradients

    # They cost a second, and compiled copies alone need them.
    from torch._dynamo import config
    from torch.fx.experimental.proxy_tensor import make_fx

    table = {torch.ops.aten.convolution_backward.default: _input_gradient_of_convolution}
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            expected = function(*inputs)
            with config.patch(error_on_nested_fx_trace=False):  # the copy, compiled, is traced as it was
                graph = make_fx(function, decomposition_table=table)(*inputs)
        compiled = torch.compile(graph, dynamic=False)

        def run(points: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with torch.no_grad(), weights_as_constants():
                outputs: tuple[Tensor, Tensor, Tensor] = compiled(points, labels, targets)
            return outputs

        logits, _, gradients = run(*inputs)
        same = _is_near(logits, expected[0], FARTHEST_LOGITS)
        same &= _is_near(gradients, expected[2], FARTHEST_GRADIENTS)
    except Exception:  # whatever a model does when it is traced
        return None
    return run if same else None


def _is_near(actual: Tensor, expected: Tensor, farthest: float) -> bool:
    distance, length = (t.double().flatten(1).norm(dim=1).max() for t in (actual - expected, expected))
    return bool(distance <= farthest * length)


def _input_gradient_of_convolution(
    gradient: Tensor,
    inputs: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> Any:
    """Write the input gradient of a plain 2d convolution as a convolution; leave others as they are."""
    plain = weight.ndim == 4 and not transposed and groups == 1 and set(dilation) == {1}
    if not plain or list(mask) != [True, False, False]:
        return NotImplemented
    convolution = torch.ops.aten.convolution.default
    sizes = weight.shape[2:]
    if set(stride) == {1} and all(p < k for k, p in zip(sizes, padding, strict=True)):
        flipped = weight.flip(2, 3).transpose(0, 1)
        around = [k - 1 - p for k, p in zip(sizes, padding, strict=True)]
        return convolution(gradient, flipped, None, stride, around, dilation, False, [0, 0], 1), None, None
    # What of the inputs the last stride did not reach.
    left = [
        n - ((g - 1) * s - 2 * p + k)
        for n, g, s, p, k in zip(inputs.shape[2:], gradient.shape[2:], stride, padding, sizes, strict=True)
    ]
    return convolution(gradient, weight, None, stride, padding, dilation, True, left, 1), None, None
