"""The exact model: the last word on an image, in float32 as written, at a constant forward shape."""

# B batch, C channels, H/W pixels, K classes

from __future__ import annotations

import torch
from torch import Tensor

from robust_transfer.attacks.model import LogitModel
from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.numerics import exact_arithmetic
from robust_transfer.models import batching


class ExactModel:
    """Logits of the unmodified `model` for any number of images, at most `size` at a time.

    shapes : "one": every forward has `size` images; "ladder": as many as `batching.shape_for` says
    """

    def __init__(self, model: LogitModel, *, size: int, shapes: str, device: torch.device) -> None:
        self.model, self.size, self.shapes, self.device = model, size, shapes, device

    def of_size(self, size: int) -> ExactModel:
        """Return the same model at another forward shape."""
        return ExactModel(self.model, size=size, shapes=self.shapes, device=self.device)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W), on the model's device."""
        with exact_arithmetic(self.device):
            return batching.forward(self.model, images.to(self.device), self.size, self.shapes)


def refuse_nonfinite(what: str, bad: Tensor, index: Tensor) -> None:
    """Raise if any of `bad` (B,) is set, naming the first image: a NaN is robust or fooled by accident."""
    if bad.any():
        first = int(index[bad.nonzero()[0, 0]])
        raise EvaluationError(
            f"nonfinite: {what} of {int(bad.sum())} images not finite (expected finite numbers, "
            f"first found at image {first})",
            "look for overflow, a division by zero or a logarithm of zero in the model",
        )
