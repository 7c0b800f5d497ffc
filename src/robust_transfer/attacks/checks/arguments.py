"""What users hand to an attack, brought into one form at the boundary or refused in one line."""

# B images, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robust_transfer.core.errors import EvaluationError


def images_of(images: Any, dtype: torch.dtype) -> Tensor:
    """Return images (B, C, H, W) as a tensor: float64 where they and the model are, else float32."""
    if torch.is_inference_mode_enabled():
        raise EvaluationError(
            "inference_mode: attacks need gradients (found torch.inference_mode switched on)"
        )
    tensor = _tensor("images", images)
    if tensor.ndim != 4 or not tensor.is_floating_point() or not len(tensor):
        whole = not tensor.is_floating_point()
        hints = ["divide by 255"] if whole else ["images[None] makes a batch of one"] * (tensor.ndim == 3)
        raise EvaluationError(
            "images: expected (B, C, H, W) floats in [0, 1], B at least 1 "
            f"(found {tuple(tensor.shape)} of {tensor.dtype})",
            *hints,
        )
    double = tensor.dtype == dtype == torch.float64
    return tensor.detach().to(torch.float64 if double else torch.float32)


def labels_of(labels: Any, images: Tensor) -> Tensor:
    """Return one class per image: (B,) int64 beside the images."""
    tensor = _tensor("labels", labels)
    whole = not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool
    if tensor.shape != images.shape[:1] or not whole:
        raise EvaluationError(
            f"labels: expected ({len(images)},) whole numbers (found {tuple(tensor.shape)} of "
            f"{tensor.dtype})",
            *(["labels.argmax(1), if they are one-hot"] if tensor.ndim == 2 else []),
        )
    return tensor.to(images.device, torch.int64)


def names_of(index: Any, count: int) -> Tensor:
    """Return the names of the images, 0 to B - 1 where none are given."""
    names = torch.arange(count) if index is None else _tensor("index", index).cpu()
    if names.shape != (count,) or names.is_floating_point() or len(set(names.tolist())) < count:
        raise EvaluationError(
            f"index: expected {count} different integers (found {tuple(names.shape)} {names.dtype})"
        )
    return names


def noise_of(noise: Any, shape: Sequence[int]) -> Tensor | None:
    """Return start noise (num_restarts, B, C, H, W), or None where it is to be drawn."""
    if noise is None:
        return None
    tensor = _tensor("start_noise", noise)
    if tensor.shape != tuple(shape):
        raise EvaluationError(
            f"start_noise: expected {tuple(shape)}, (num_restarts, B, C, H, W) (found {tuple(tensor.shape)})"
        )
    return tensor


def _tensor(name: str, value: Any) -> Tensor:
    if value is None:
        raise EvaluationError(f"{name}: expected a tensor or an array (found None)")
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EvaluationError(
            f"{name}: expected a tensor, an array or a list of numbers (found {type(value).__name__})"
        ) from error
