"""The model under attack, whatever a user holds, as a function from images to float32 logits."""

# B batch, C channels, H/W pixels, K classes

from __future__ import annotations

import torch
from torch import Tensor

from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.callables import Model, Wrapped

# What stands for a logit of -inf, by which heads mask classes: far below all others, and still a number.
MASKED = -1e30
HALF = (torch.float16, torch.bfloat16)


class LogitModel(Wrapped):
    """Any callable from images (B, C, H, W) to logits (B, K), as `models.callables.Wrapped` takes it.

    Logits come in float32, of a double model in float64; a logit of -inf becomes `MASKED`, others that are
    not finite stay for the checks to find.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        # A fast copy's weights may be held in less than it computes in.
        self.dtype = getattr(model, "input_dtype", self.dtype)
        self.output_dtype: torch.dtype | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K)."""
        logits = super().forward(images)
        self.output_dtype = logits.dtype
        if not logits.is_floating_point():
            raise EvaluationError(
                f"logits: expected floats (found {logits.dtype})",
                "return the scores, not the predicted classes",
            )
        logits = logits.float() if logits.dtype in HALF else logits
        return torch.where(logits == -torch.inf, MASKED, logits)

    def dtypes(self) -> str:
        """Say in which types weights are held and logits come out, as far as forwards have shown."""
        weights = {str(p.dtype) for p in self.parameters() if p.is_floating_point()} or {"none"}
        text = f"weights {'/'.join(sorted(weights))}, logits {self.output_dtype}"
        return text.replace("torch.", "")

    def is_low_precision(self) -> bool:
        """Tell whether any of it is in half precision."""
        return self.output_dtype in HALF or any(p.dtype in HALF for p in self.parameters())
