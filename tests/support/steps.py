"""Arguments of an objective's call: a whole batch, and the first step of a run."""

import torch

from robust_transfer.objectives import Progress, Views

FIRST = Progress(step=0, total=10, epoch=0, steps_per_epoch=5)


def whole(*views_and_labels):
    """A batch of (view, ..., labels)."""
    *images, labels = views_and_labels
    return Views(tuple(images), labels, torch.arange(len(labels)))
