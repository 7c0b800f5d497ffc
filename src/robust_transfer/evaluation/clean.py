"""Accuracy on unchanged images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from robust_transfer.config.evaluators import CleanConfig
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext, RowPerImage, Rows
from robust_transfer.models import batching
from robust_transfer.store.journal import Journal


class CleanEvaluator(RowPerImage):
    """Predict every image once, in forwards of one constant shape."""

    journal_columns = ("index", "prediction")

    def __init__(self, config: CleanConfig) -> None:
        self.config = config

    def measure(self, context: EvalContext, images: ImageBatch, rows: Rows, journal: Journal) -> None:
        """Predict the images."""
        model = context.fast_model(self.config.arithmetic)
        size = self.config.batch_size
        for first in range(0, len(images), size):
            pixels = images[first : first + size].to(context.device)
            with torch.inference_mode():
                logits = batching.forward(model, pixels, size)
            indices = images.indices[first : first + size].tolist()
            check_finite(logits, indices)
            journal.append(zip(indices, logits.argmax(1).tolist(), strict=True))
            context.progress.step(len(pixels))

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image."""
        predictions = {int(row["index"]): int(row["prediction"]) for row in rows}
        return [
            {"index": i, "label": labels[i], "prediction": predicted, "correct": predicted == labels[i]}
            for i, predicted in sorted(predictions.items())
        ]


def check_finite(logits: torch.Tensor, indices: Sequence[int]) -> None:
    """Refuse logits (B, K) that are not finite, naming the first image."""
    bad = (~logits.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise EvaluationError(
            f"finite: the logits of {len(bad)} images are not finite (first: image {indices[bad[0]]})",
            "the weights or the arithmetic overflow: try EVALUATOR.arithmetic=fp32",
        )
