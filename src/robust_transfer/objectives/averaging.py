"""An exponential moving average of the weights as the result of training (Gowal et al. 2020, 2010.03593)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robust_transfer.config.weights import MovingAverage
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views
from robust_transfer.objectives.wrapping import Wrapping


def averaging_decay(step: int, decay: float, warmup_steps: int) -> float:
    """Return the share of the average that a step keeps: 0, after warm-up min(decay, (1 + s) / (10 + s)).

    Parameters
    ----------
    step : optimiser steps done before it; s = step - warmup_steps
    decay : the paper's tau
    warmup_steps : steps after which the average begins
    """
    since = step - warmup_steps
    return 0.0 if since < 0 else min(decay, (1 + since) / (10 + since))


class WithAverage(nn.Module):
    """A network that is trained, and the average of what it exports."""

    def __init__(self, online: nn.Module, exported: nn.Module) -> None:
        super().__init__()
        self.online = online
        self.average = copy.deepcopy(exported).requires_grad_(False)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Pass the network that is trained."""
        return self.online(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        """Offer what a method asks of its network, such as a queue."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("online"), name)


class Averaged(Wrapping):
    """Any method; the average is validated, saved and evaluated, and attacks inside steps use raw weights.

    All parameters are averaged, BatchNorm's too; its statistics are copied.

    Note: the port of the paper's code shares the statistics' tensors; others average them, or estimate
    them anew at the end.
    """

    def __init__(self, inner: Objective, setting: MovingAverage) -> None:
        super().__init__(inner)
        self.setting = setting

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Put the average beside the network that is trained."""
        online = self.inner.training_model(model, references)
        return WithAverage(online, self.inner.exported_model(online))

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the average."""
        return trained.get_submodule("average")

    def param_groups(self, trained: nn.Module) -> list[dict[str, Any]]:
        """Return those of the network that is trained."""
        return self.inner.param_groups(_online(trained))

    def train_mode(self, trained: nn.Module) -> None:
        """Put the network that is trained in its mode; the average stays in eval mode."""
        self.inner.train_mode(_online(trained))
        self.exported_model(trained).eval()

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the views of the network that is trained."""
        return self.inner.prepare(_online(model), batch, noise, progress)

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Bring the average nearer to the weights after the optimiser's step."""
        online = _online(trained)
        with self.inner.around_step(online, backward, progress):
            yield
        warmup_steps = round(self.setting.start_epochs * progress.steps_per_epoch)
        decay = averaging_decay(progress.step, self.setting.decay, warmup_steps)
        _update(self.exported_model(trained), self.inner.exported_model(online), decay)

    def after_backward(self, trained: nn.Module, progress: Progress) -> None:
        """Change the gradients of the network that is trained."""
        self.inner.after_backward(_online(trained), progress)

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the inner objective's loss of the network that is trained."""
        return self.inner(model, batch, noise, progress)


def _online(trained: nn.Module) -> nn.Module:
    return trained.get_submodule("online")


@torch.no_grad()
def _update(average: nn.Module, current: nn.Module, decay: float) -> None:
    for mean, weight in zip(average.parameters(), current.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)
    for kept, buffer in zip(average.buffers(), current.buffers(), strict=True):
        kept.copy_(buffer)
