"""What `precision` means: fp32 without TF32, tf32 for convolutions, bf16 by autocast; losses stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Set the process's CUDA flags for a training run and give them back afterwards.

    TF32 is for convolutions alone: nearly all of a ResNet's work, while the matrix product inside the
    contrastive loss stays float32.
    """
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    former = cudnn.conv.fp32_precision, matmul.fp32_precision, cudnn.benchmark
    cudnn.conv.fp32_precision = "ieee" if precision == "fp32" else "tf32"
    matmul.fp32_precision = "ieee"
    cudnn.benchmark = True  # all batches have one shape
    try:
        yield
    finally:
        cudnn.conv.fp32_precision, matmul.fp32_precision, cudnn.benchmark = former


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context of a forward pass; float32 weights stay, bfloat16 needs no loss scaling."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
