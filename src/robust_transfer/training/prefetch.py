"""Batches on the device: their copies travel beside the step that is being computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from robust_transfer.data.loaders import Batch

STREAMING = ("cuda", "xpu")  # kinds of device that copy and compute at the same time


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches with images and labels on `device`; positions and what is drawn stay on the CPU.

    The host runs ahead of a GPU: when it asks for a batch, the step before is still being computed. A stream
    of its own lets the copy of pinned memory begin at once instead of after that step.
    """
    if device.type not in STREAMING:
        yield from (_moved(batch, device) for batch in batches)
        return
    stream = torch.Stream(device)
    for batch in batches:
        with stream:
            moved = _moved(batch, device)
        current = torch.accelerator.current_stream(device)
        current.wait_stream(stream)
        for tensor in (*moved.images, moved.labels):
            # Their memory belongs to the other stream, which must not reuse it while this one reads.
            tensor.record_stream(current)
        yield moved


def _moved(batch: Batch, device: torch.device) -> Batch:
    images = tuple(view.to(device, non_blocking=True) for view in batch.images)
    return batch._replace(images=images, labels=batch.labels.to(device, non_blocking=True))
