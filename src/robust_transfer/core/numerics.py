"""In which arithmetic float32 networks are computed: TF32, bfloat16, autocast, the choice of kernels.

The only module that sets these flags. Every context manager gives each flag back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch

from robust_transfer.core.choices import ARITHMETICS
from robust_transfer.core.errors import ConfigError, did_you_mean


def check_arithmetic(kind: str) -> None:
    """Refuse a name that is not an arithmetic."""
    if kind not in ARITHMETICS:
        raise ConfigError(
            f"arithmetic={kind!r} (expected {', '.join(ARITHMETICS)})", did_you_mean(kind, ARITHMETICS)
        )


@contextmanager
def arithmetic(kind: str) -> Iterator[None]:
    """Compute float32 models in one arithmetic.

    Parameters
    ----------
    kind : "fp32" (TF32 off), "tf32" (matrix products and convolutions of GPUs that have it), "bf16"
        (autocast, on the CPU and on GPUs; what autocast leaves in float32 has TF32 off)

    Raises
    ------
    ConfigError : another kind
    """
    check_arithmetic(kind)
    with ExitStack() as stack:
        stack.enter_context(_tf32(products=kind == "tf32", convolutions=kind == "tf32"))
        if kind == "bf16":
            there = [kind for kind in ("cuda", "xpu") if torch.get_device_module(kind).is_available()]
            for device in ("cpu", *there):
                stack.enter_context(torch.autocast(device, dtype=torch.bfloat16))
        yield


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute on `device` as written: no autocast, no TF32 or bf16 inside products and convolutions."""
    backends: Any = torch.backends
    flags = (
        (backends.cuda.matmul, backends.cudnn.conv)
        if device.type == "cuda"
        else (backends.mkldnn.matmul, backends.mkldnn.conv)
    )
    with (
        torch.autocast(device.type, enabled=False),
        _held(*((flag, "fp32_precision", "ieee") for flag in flags)),
    ):
        yield


@contextmanager
def training_arithmetic(precision: str) -> Iterator[None]:
    """Set the process's CUDA flags for a training run.

    TF32 is for convolutions alone: nearly all of a ResNet's work, while the matrix product inside the
    contrastive loss stays float32. bfloat16 is `autocast`'s.
    """
    backends: Any = torch.backends
    convolutions = "ieee" if precision == "fp32" else "tf32"
    with (
        _tf32(products=False, convolutions=precision != "fp32"),
        _held(
            (backends.cudnn.conv, "fp32_precision", convolutions),
            (backends.cudnn.rnn, "fp32_precision", convolutions),
            (backends.cuda.matmul, "fp32_precision", "ieee"),
            (backends.cudnn, "benchmark", True),  # all batches have one shape
        ),
    ):
        yield


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a forward pass; float32 weights stay, bfloat16 needs no loss scaling."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def deterministic() -> Iterator[None]:
    """Fix the choice of GPU kernels: no autotuning, and the same ones every time."""
    cudnn = torch.backends.cudnn
    with _held((cudnn, "benchmark", False), (cudnn, "deterministic", True)):
        yield


@contextmanager
def _held(*flags: tuple[Any, str, Any]) -> Iterator[None]:
    """Hold (object, attribute, value) in the block."""
    before = [getattr(owner, name) for owner, name, _ in flags]
    try:
        for owner, name, value in flags:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(flags, before, strict=True):
            setattr(owner, name, value)


@contextmanager
def _tf32(*, products: bool, convolutions: bool) -> Iterator[None]:
    # torch keeps two generations of these flags. The older setters keep both in step; the older getters
    # refuse to answer where someone has used the newer ones, which can always be read.
    backends: Any = torch.backends
    newer: list[Any] = [backends.cuda.matmul, *(getattr(backends.cudnn, part) for part in ("conv", "rnn"))]
    newer += [getattr(backends.mkldnn, part) for part in ("matmul", "conv")]
    precisions = [flag.fp32_precision for flag in newer]
    try:
        older = (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32)
    except RuntimeError:
        older = None
    try:
        _set_older("high" if products else "highest", convolutions)
        yield
    finally:
        if older is not None:
            _set_older(*older)
        for flag, precision in zip(newer, precisions, strict=True):
            if flag.fp32_precision != precision:
                flag.fp32_precision = precision


def _set_older(matmul: str, convolution: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution
