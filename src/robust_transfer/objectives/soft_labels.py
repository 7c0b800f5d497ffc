"""Labels as probabilities: smoothed over the classes, and mixed as the images are (mixup)."""

# B local batch, N = B x processes, K classes

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.core import rng
from robust_transfer.objectives.objective import Noise, Objective, Progress, Views
from robust_transfer.objectives.whole_batch import everyones, own
from robust_transfer.objectives.wrapping import Wrapping


def smoothed(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Return (B, K) probabilities: the label's class keeps 1 - smoothing, all K share the rest evenly.

    Szegedy et al. 2016 (arXiv 1512.00567), section 7.
    """
    hard = functional.one_hot(labels, num_classes).float()
    return hard * (1 - smoothing) + smoothing / num_classes


def mixed(tensor: Tensor, share: float) -> Tensor:
    """Return share x row + (1 - share) x the next row of the batch, over all processes.

    tensor : (B, ...) images or labels. A batch is in random order, so that its next image is a random other
        one
    """
    return share * tensor + (1 - share) * own(everyones(tensor).roll(-1, 0))


class SoftLabels(Wrapping):
    """A cross-entropy to smoothed labels, on images mixed in pairs before anything perturbs them.

    mixup : alpha; a step draws one share from Beta(alpha, alpha) (Zhang et al. 2018, arXiv 1710.09412)
    """

    def __init__(self, inner: Objective, label_smoothing: float, mixup: float, seed: int) -> None:
        super().__init__(inner)
        self.label_smoothing, self.mixup, self.seed = label_smoothing, mixup, seed

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the views of the inner objective, made of mixed images and soft labels."""
        num_classes = int(self.inner.exported_model(model).num_classes)  # type: ignore[arg-type]
        labels = smoothed(batch.labels, num_classes, self.label_smoothing)
        images = batch.images
        if self.mixup:
            share = rng.numpy_generator("mixup", progress.step, seed=self.seed).beta(self.mixup, self.mixup)
            images, labels = tuple(mixed(view, share) for view in images), mixed(labels, share)
        return self.inner.prepare(model, batch._replace(images=images, labels=labels), noise, progress)
