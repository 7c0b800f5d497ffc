"""What every training objective offers.

An objective holds settings and no state: what a step changes lies in the parameters and buffers of
`training_model`, so that a checkpoint holds it.
"""

# B local batch, C channels, H/W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_transfer.core.errors import ConfigError
from robust_transfer.data.loaders import MakeView

# (purpose, copy) -> (B, C, H, W) standard normal, keyed by (seed, purpose, epoch, image, copy).
Noise = Callable[[str, int], Tensor]
Metrics = dict[str, Tensor]  # scalars without gradient, left on the device


class Views(NamedTuple):
    """A batch, or the part of one that passes the network together.

    images : one float tensor (B, C, H, W) in [0, 1] a view; views may differ in size
    labels : (B,) int64, or (B, K) probabilities where the method's spec takes them; a method without labels
        does not read them
    indices : (B,) int64 on the CPU, positions in the data set
    """

    images: tuple[Tensor, ...]
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Progress:
    """Where in its run a step stands.

    step : optimiser steps done before it
    total : optimiser steps of the whole run, as the learning rate counts them; None where a plateau ends it
    epoch : passes over the data begun before it
    steps_per_epoch : optimiser steps of one pass over the data
    """

    step: int
    total: int | None
    epoch: int
    steps_per_epoch: int


class Objective:
    """A loss over a batch, averaged over the local images, and what its training steps need around it.

    A method overrides `__call__`, and of the rest what it needs. In one optimiser step are called, in this
    order: `train_mode`; `prepare` for every part of the batch (micro-batches); `around_step` is entered;
    `__call__` and backward for every part; `after_backward`; the optimiser steps; `around_step` is left.
    """

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return how an epoch sees an image, a maker per view; None: the data set's own augmentation."""
        return (None,)

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Return what is trained: `model` itself, or `model` inside a network that only training needs.

        Parameters
        ----------
        model : the classifier that fine-tuning or evaluation will use, or features (`num_classes` 0)
        references : the models that the method's spec names, frozen, in eval mode, on `model`'s device; keep
            them outside of the network that is returned, and they are in no checkpoint

        Raises
        ------
        ConfigError : a reference does not fit the model
        """
        return model

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the model in the training model that is validated, saved and evaluated."""
        return trained

    def param_groups(self, trained: nn.Module) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups; frozen parameters are left out of them.

        `lr_scale` in a group multiplies the schedule's rate.
        """
        return [{"params": list(trained.parameters())}]

    def train_mode(self, trained: nn.Module) -> None:
        """Put the training model in the mode that its steps need."""
        trained.train()

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the views that `__call__` will get, made before `around_step` moves the weights."""
        return batch

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Do what belongs before the step's backward passes and after its optimiser step, once per step.

        Parameters
        ----------
        trained : the training model, not wrapped for several processes
        backward : run the step's forward and backward passes, all parts and processes, here and now: leaves
            the gradients of the whole batch in the parameters' `grad`. The step itself runs them again
        """
        yield

    def after_backward(self, trained: nn.Module, progress: Progress) -> None:
        """Change the gradients of the whole batch before the optimiser reads them."""

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the mean loss of the local images, in at least float32, and metrics to log.

        Call `model` once: it may be wrapped, and in each call the wrapper prepares a reduction of gradients.
        """
        raise NotImplementedError

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return the images whose accuracy tells how good the model is (plateau): here the clean ones."""
        return batch.images[0]


def widen(tensor: Tensor) -> Tensor:
    """Bring half precision to float32, where losses are computed; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def classify(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of logits (B, K) and the fraction that is correct.

    labels : (B,) classes, or (B, K) probabilities, of which the largest is the right class
    """
    if logits.shape[1] == 0:
        raise ConfigError("a model without classes has no cross-entropy (expected a head)")
    likeliest = labels if labels.dim() == 1 else labels.argmax(1)
    accuracy = (logits.detach().argmax(1) == likeliest).float().mean()
    return cross_entropy(logits, labels), accuracy


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of logits (B, K) to classes (B,) or to probabilities (B, K)."""
    wide = widen(logits)
    return functional.cross_entropy(
        wide, labels if labels.dim() == 1 else labels.to(wide.dtype), reduction=reduction
    )
