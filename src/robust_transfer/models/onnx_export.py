"""A model as an ONNX graph: images in [0, 1] to logits, its normalisation inside, checked by onnxruntime."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy
import torch

from robust_transfer.core import rng
from robust_transfer.core.errors import CheckpointError, ConfigError
from robust_transfer.core.files import atomic_path
from robust_transfer.models.checkpoint import load_model

TOLERANCE = 1e-4  # of the largest logit: other kernels round differently
IMAGES = 3


def export_onnx(model_file: str | Path, to: str | Path) -> Path:
    """Write a graph from `images` (B, 3, H, W) in [0, 1], any B, to `logits` (B, K), equal to the model's.

    Raises
    ------
    CheckpointError : no model of ours, or onnxruntime computes other logits
    ConfigError : onnx, onnxscript or onnxruntime is not installed
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter writes with it
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs the package {error.name}", "pip install robust-transfer[onnx]"
        ) from None
    model, target = load_model(model_file), Path(to)
    side = model.image_size
    images = torch.rand((IMAGES, 3, side, side), generator=rng.generator(0, "onnx"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
            torch.onnx.export(
                model,
                (images[:2],),
                str(temporary),
                dynamo=True,
                external_data=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        (computed,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            expected = model(images).numpy()
        largest = float(numpy.abs(computed - expected).max())
        if not largest <= TOLERANCE * max(1.0, float(numpy.abs(expected).max())):
            raise CheckpointError(
                f"the ONNX graph computes other logits (by up to {largest:.2g}): nothing was written"
            )
    return target
