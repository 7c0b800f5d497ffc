"""The last word on an image: the unmodified model, in exact float32, at a constant forward shape."""

# B batch, C channels, H/W pixels, K classes

from __future__ import annotations

import torch
from torch import Tensor, nn

from robust_transfer.attacks import losses
from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.numerics import exact_arithmetic

# A margin below this share of the spread of an image's logits may turn with the forward shape or the kernel:
# an attack of many steps amplifies rounding of 1e-6 by about this much.
TIE = 1e-3


class Judge:
    """Predictions of `model` for any number of images, forwarded `size` at a time, the last batch padded."""

    def __init__(self, model: nn.Module, *, size: int, device: torch.device) -> None:
        self.model, self.size, self.device = model, size, device
        self.num_images = 0

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W), on the model's device."""
        rows = []
        for part in images.split(self.size):
            count = len(part)
            padded = part.to(self.device)
            if count < self.size:
                padded = torch.cat([padded, padded[:1].expand(self.size - count, *padded.shape[1:])])
            with exact_arithmetic(self.device):
                rows.append(self.model(padded)[:count])
            self.num_images += self.size
        return torch.cat(rows)


def is_near_tie(logits: Tensor, labels: Tensor) -> Tensor:
    """Return where label and best other are closer than `TIE` of the logits' spread: (B,) bool."""
    spread = logits.amax(1) - logits.amin(1)
    return losses.margin(logits, labels).abs() < TIE * spread


def refuse_nonfinite(what: str, bad: Tensor, index: Tensor) -> None:
    """Raise if any of `bad` (B,) is set, naming the first image: a NaN is robust or fooled by accident."""
    if bad.any():
        first = int(index[bad.nonzero()[0, 0]])
        raise EvaluationError(
            f"nonfinite: {what} of {int(bad.sum())} images not finite (expected finite numbers, "
            f"first found at image {first})",
            "look for overflow, a division by zero or a logarithm of zero in the model",
        )
