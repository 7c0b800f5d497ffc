"""CIFAR-10 and CIFAR-100: the published batches, held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robust_transfer.data.cifar_batches import SIDE, read_pickle
from robust_transfer.data.images import ArrayImages
from robust_transfer.data.listing import Listing


def cifar10(home: Path, split: str) -> Listing:
    """List CIFAR-10: 50,000 training images in five batches, 10,000 test images."""
    batches = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    return _listing(home, batches, "labels", read_pickle(home / "batches.meta")["label_names"])


def cifar100(home: Path, split: str) -> Listing:
    """List CIFAR-100: 50,000 training and 10,000 test images; the fine labels."""
    return _listing(home, [split], "fine_labels", read_pickle(home / "meta")["fine_label_names"])


def _listing(home: Path, batches: Sequence[str], labels_key: str, names: list[str]) -> Listing:
    """Read `batches` and order their images by label, then batch and row."""
    pixels, labels, paths = [], [], []
    for batch in batches:
        content = read_pickle(home / batch)
        pixels.append(np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE))
        labels += [int(label) for label in content[labels_key]]
        paths += [f"{batch}/{row:05d}" for row in range(len(content[labels_key]))]
    order = np.argsort(labels, kind="stable")
    images = np.concatenate(pixels).transpose(0, 2, 3, 1)[order]
    return Listing(names, [paths[i] for i in order], [labels[i] for i in order], ArrayImages(images))
