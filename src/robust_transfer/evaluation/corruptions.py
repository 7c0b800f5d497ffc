"""Accuracy under common corruptions: noise, blur, weather and digital faults at five strengths.

Hendrycks & Dietterich 2019 (arXiv 1903.12261). The corruptions are those of the package imagecorruptions, on
8-bit images after resizing and cropping. Their accuracy is averaged over kinds and severities as it is; the
paper divides each error by AlexNet's on ImageNet, which other data sets do not have.
"""

# B images, H/W pixels, K classes

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robust_transfer.config.evaluator import Settings
from robust_transfer.config.evaluators import CORRUPTIONS, CorruptionsConfig
from robust_transfer.core import rng
from robust_transfer.core.errors import EvaluationError, did_you_mean, install_extra
from robust_transfer.evaluation.clean import check_finite
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext, RowPerImage, Rows
from robust_transfer.evaluation.recompute import Findings, Row
from robust_transfer.models import batching
from robust_transfer.store.journal import Journal

SMALLEST = 32  # pixels: what the package's kernels are made for
Pixels = npt.NDArray[np.uint8]


class CorruptionsEvaluator(RowPerImage):
    """Predict every image and its corrupted copies; `predictions` lists the copies' kind by kind."""

    journal_columns = ("index", "prediction", "predictions")

    def __init__(self, config: CorruptionsConfig) -> None:
        self.config = config

    def measure(self, context: EvalContext, images: ImageBatch, rows: Rows, journal: Journal) -> None:
        """Predict the images and their copies, a batch at a time."""
        config, size = self.config, self.config.batch_size
        model = context.fast_model(config.arithmetic)

        def predictions(pixels: torch.Tensor, indices: Sequence[int]) -> list[int]:
            with torch.inference_mode():
                logits = batching.forward(model, pixels.to(context.device).float().div(255), size)
            check_finite(logits, indices)
            classes: list[int] = logits.argmax(1).tolist()
            return classes

        for first in range(0, len(images), size):
            part, indices = images.pixels[first : first + size], images.indices[first : first + size].tolist()
            columns = [predictions(part, indices)]
            for kind in config.kinds:
                for severity in config.severities:
                    copies = [
                        corrupted(image, kind, severity, seed=config.seed, index=index)
                        for image, index in zip(part, indices, strict=True)
                    ]
                    columns.append(predictions(torch.stack(copies), indices))
            journal.append(
                (index, clean, " ".join(map(str, copies)))
                for index, clean, *copies in zip(indices, *columns, strict=True)
            )
            context.progress.step(len(indices))

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image; `robust` is the share of its copies that are correct."""
        return [_record(row, labels) for row in sorted(rows, key=lambda row: int(row["index"]))]


def corrupted(
    image: torch.Tensor, kind: str, severity: int, *, seed: int = 0, index: int = 0
) -> torch.Tensor:
    """Corrupt one 8-bit image.

    Parameters
    ----------
    image : (3, H, W) uint8, at least 32 x 32 pixels
    kind : one of the 15 usual names, such as "fog"
    severity : 1 to 5
    seed, index : key what the corruption draws, besides its kind and severity

    Raises
    ------
    EvaluationError : an image that is too small, an unknown kind, or the package imagecorruptions is missing
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from imagecorruptions import corrupt
    except ImportError as error:
        raise EvaluationError(
            "corruptions need the package imagecorruptions", install_extra("corruptions")
        ) from error
    if kind not in CORRUPTIONS:
        raise EvaluationError(
            f"unknown corruption (expected one of {', '.join(CORRUPTIONS)}, found '{kind}')",
            did_you_mean(kind, CORRUPTIONS),
        )
    if min(image.shape[1:]) < SMALLEST:
        raise EvaluationError(
            f"corruptions need images of at least {SMALLEST} x {SMALLEST} pixels "
            f"(found {image.shape[2]} x {image.shape[1]})",
            "model.image_size=32, or larger",
        )
    pixels: Pixels = image.permute(1, 2, 0).contiguous().numpy()
    purpose = f"corruption_{kind}"
    # One kind asks NumPy for a generator of its own, unless it is given a seed.
    options = {"seed": rng.key(seed, purpose, index, severity) % 2**31} if kind == "glass_blur" else {}
    with rng.numpy_state(seed, purpose, index, severity):
        if kind == "impulse_noise":
            changed = impulse_noise(pixels, severity)
        else:
            changed = corrupt(pixels, severity=severity, corruption_name=kind, **options)
    return torch.from_numpy(np.array(changed)).permute(2, 0, 1)


def impulse_noise(pixels: Pixels, severity: int) -> Pixels:
    """Set a share of the values to 0 or 255 with equal odds.

    Note: the package draws this kind alone from a generator that cannot be seeded, so it is drawn here.
    """
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    chance = np.random.uniform(size=pixels.shape)
    noisy: Pixels = np.where(chance < share, np.where(chance < share / 2, 0, 255), pixels).astype(np.uint8)
    return noisy


def corruptions_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Recompute `correct` and `robust` from the predictions, and compare these with the journal's."""
    where = f"image {row['index']}"
    expected = len(settings["kinds"]) * len(settings["severities"])
    record = _record(row, {int(row["index"]): int(row["label"])})
    findings.check(f"{where}: number of predictions", len(row["predictions"].split()), expected)
    findings.check(f"{where}: correct", row["correct"], str(int(record["correct"])))
    findings.check(f"{where}: robust", float(row["robust"]), record["robust"])
    for entry in entries:
        for name in ("prediction", "predictions"):
            findings.check(f"{where}: {name}", row[name], entry[name])


def _record(row: dict[str, str], labels: Sequence[int] | dict[int, int]) -> dict[str, Any]:
    index, copies = int(row["index"]), [int(text) for text in row["predictions"].split()]
    return {
        "index": index,
        "label": labels[index],
        "prediction": int(row["prediction"]),
        "correct": int(row["prediction"]) == labels[index],
        "robust": sum(prediction == labels[index] for prediction in copies) / len(copies),
        "predictions": row["predictions"],
    }
