"""Anything that users pass as a model: a module, a function, half or double weights, outputs with `.logits`.

B batch, C channels, H/W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn

from robust_transfer.core.errors import EvaluationError

Model = Callable[[torch.Tensor], Any]


class Wrapped(nn.Module):
    """Any callable as a module from float32 images (B, C, H, W) to a tensor of logits (B, K).

    Images are cast to the type of the model's weights last, after all float32 operations on them; a
    half, bfloat16 or double model runs in its own arithmetic.

    Raises
    ------
    EvaluationError : not a callable, or a class instead of an instance
    """

    def __init__(self, model: Model) -> None:
        if isinstance(model, type) or not callable(model):
            kind = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise EvaluationError(f"model: expected a function from images to logits (found {kind})")
        super().__init__()
        self.model = model
        self.dtype = dtype_of(model)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the model's logits, in the type it computes them in.

        Raises
        ------
        EvaluationError : the model fails on the images
        """
        images = images.to(self.dtype)
        try:
            output = self.model(images)
        except RuntimeError as error:
            if "memory" in str(error):
                raise
            reason = str(error).splitlines()[0]
            raise EvaluationError(
                f"model: it fails on images {tuple(images.shape)} of {images.dtype} ({reason})"
            ) from error
        return logits_of(output)


def dtype_of(model: Model) -> torch.dtype:
    """Tell the floating type of a model's weights, or its buffers; float32 for one that has neither."""
    if isinstance(model, nn.Module):
        for tensor in chain(model.parameters(), model.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
    return torch.float32


def logits_of(output: Any) -> torch.Tensor:
    """Return a model's logits from its output: a tensor, or an object with the attribute `logits`.

    Raises
    ------
    EvaluationError : a tuple, a dictionary or another type; the message names a wrapper
    """
    if not isinstance(output, torch.Tensor) and not isinstance(output, tuple | list):
        output = getattr(output, "logits", output)
    if isinstance(output, torch.Tensor):
        return output
    take = "[0]" if isinstance(output, tuple | list) else "['logits']"
    hint = f"wrap it: lambda images: model(images){take}, with the position or name of the logits"
    hints = (hint,) if isinstance(output, tuple | list | Mapping) else ()
    raise EvaluationError(
        f"the model returns a {type(output).__name__} (expected a tensor of logits, or .logits)", *hints
    )
