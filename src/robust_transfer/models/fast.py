"""A private copy of a model that computes the same logits in less time.

B batch, C channels, H/W pixels, K classes.
"""

from __future__ import annotations

import copy
import hashlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from robust_transfer.core import numerics
from robust_transfer.models.callables import dtype_of, logits_of


class FastInference(nn.Module):
    """Runs `body` under an arithmetic and returns float32 logits (B, K).

    input_dtype : the type of the weights that the body was copied from, which images are cast to
    graphs : what else was compiled of it, by loss and shape (`attacks.one_graph`)
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        kind: str,
        compile: bool,
        input_dtype: torch.dtype,
        layout: torch.memory_format,
    ) -> None:
        super().__init__()
        self.input_dtype = input_dtype
        self.layout = layout
        self.body = body
        self.kind = kind
        self.compiled = compile
        self.graphs: dict[Any, Any] = {}
        if compile:
            # In place: the module tree, and with it the weights' names, stays as it is.
            body.compile(dynamic=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) images in [0, 1] to logits (B, K)."""
        images = images.to(self.input_dtype, memory_format=self.layout)
        with numerics.arithmetic(self.kind), weights_as_constants() if self.compiled else nullcontext():
            logits = logits_of(self.body(images))
        return logits.float()


def weights_as_constants() -> AbstractContextManager[Any]:
    """Make what torch.compile traces in the block hold weights as constants, if no gradient is required.

    As an option of one compilation the setting comes too late: the tracer reads the global one.
    """
    from torch._inductor import config  # costs a second, and is read by compiled models alone

    constants: AbstractContextManager[Any] = config.patch(freezing=True)
    return constants


def fast_inference(model: nn.Module, *, arithmetic: str = "fp32", compile: bool = False) -> nn.Module:
    """Copy a model for inference: eval mode, frozen, in the faster layout, BatchNorm folded away.

    Its logits are those of `model` in eval mode up to rounding; under "bf16" they are those of another model,
    the one in low precision, whose last linear layer runs in float32. Gradients with respect to the images
    are available. A model that cannot be traced keeps its BatchNorm layers. Feature maps may be
    channels-last: a model may `flatten` them, not `view` them.

    Parameters
    ----------
    model : (B, C, H, W) in [0, 1] to logits (B, K); left as it is
    arithmetic : "fp32", "tf32" or "bf16", see `core.numerics.arithmetic`
    compile : by torch.compile, the weights as constants where no gradient is required; one compilation
        per shape

    Raises
    ------
    ConfigError : another arithmetic
    """
    numerics.check_arithmetic(arithmetic)
    body = copy.deepcopy(model).eval().requires_grad_(False)
    body = _folded(body)
    if arithmetic == "bf16":
        _cast_to_bfloat16(body)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    layout = inference_layout(device, arithmetic)
    _lay_out(body, layout)
    dtype = dtype_of(model)
    return FastInference(body, kind=arithmetic, compile=compile, input_dtype=dtype, layout=layout).eval()


def inference_layout(device: torch.device, arithmetic: str) -> torch.memory_format:
    """Return the layout in which convolutions are faster: channels last, but for float32 on CUDA.

    An H200 made 3,063 forwards of ResNet-50 a second with it in fp32, and 3,878 without (docs/benchmarks.md).
    """
    if device.type == "cuda" and arithmetic == "fp32":
        return torch.contiguous_format
    return torch.channels_last


def weights_hash(model: nn.Module) -> str:
    """Hash names, types, shapes and bytes of parameters and buffers: sha256, in hexadecimal.

    Buffers outside the state_dict, such as a normalisation's, count: they are part of what is computed.
    """
    digest = hashlib.sha256()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        data = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(data.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Float32Linear(nn.Module):
    """A linear layer that autocast does not touch: bfloat16 logits tie in one sample of 600."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, D) features to float32 (B, K)."""
        with torch.autocast(features.device.type, enabled=False):
            logits: torch.Tensor = self.linear(features.float())
        return logits


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)


def _cast_to_bfloat16(model: nn.Module) -> None:
    """Cast weights for autocast once; the head, the linear layer that was registered last, stays float32."""
    layers = [item for item in model.named_modules() if type(item[1]) in (nn.Conv2d, nn.Linear)]
    head = next((item for item in reversed(layers) if isinstance(item[1], nn.Linear)), None)
    for name, layer in layers:
        # Autocast would cast frozen weights again in every forward, to the same numbers.
        if head is None or name != head[0]:
            layer.to(torch.bfloat16)
    if head is not None:
        model.set_submodule(head[0], Float32Linear(head[1]))


def _folded(model: nn.Module) -> nn.Module:
    """Fold each BatchNorm into the convolution before it, where that is the only reader of its output."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    try:
        graph_module = fx.symbolic_trace(model)
    except Exception:  # whatever a model's own forward raises when it meets a symbolic tensor
        return model
    graph, modules = graph_module.graph, dict(graph_module.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in list(graph.nodes):
        pair = _convolution_and_norm(node, modules)
        if pair is None or calls.count(node.target) > 1 or calls.count(node.args[0].target) > 1:
            continue
        graph_module.set_submodule(node.args[0].target, fuse_conv_bn_eval(*pair))
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
        graph_module.delete_submodule(node.target)
    graph_module.recompile()
    return graph_module


def _convolution_and_norm(
    node: fx.Node, modules: dict[str, nn.Module]
) -> tuple[nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm] | None:
    if node.op != "call_module" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    norm, source = modules[str(node.target)], node.args[0]
    convolution = modules.get(str(source.target)) if source.op == "call_module" else None
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) or norm.running_mean is None:
        return None
    if not isinstance(convolution, nn.Conv1d | nn.Conv2d | nn.Conv3d) or len(source.users) > 1:
        return None
    if _has_hooks(convolution) or _has_hooks(norm):
        return None
    return convolution, norm


def _has_hooks(module: nn.Module) -> bool:
    """Tell whether a module does more than its type: hooks, weights computed from others."""
    return bool(module._forward_pre_hooks or module._forward_hooks) or is_parametrized(module)
