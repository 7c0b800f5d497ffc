"""An objective around another: what it does not change, the inner one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from robust_transfer.data.loaders import MakeView
from robust_transfer.objectives.objective import Metrics, Noise, Objective, Progress, Views


class Wrapping(Objective):
    """Hands every call on to the objective inside."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner

    def views(self, image_size: int, epoch: int) -> tuple[MakeView | None, ...]:
        """Return the inner objective's."""
        return self.inner.views(image_size, epoch)

    def training_model(self, model: nn.Module, references: Mapping[str, nn.Module]) -> nn.Module:
        """Return the inner objective's."""
        return self.inner.training_model(model, references)

    def exported_model(self, trained: nn.Module) -> nn.Module:
        """Return the inner objective's."""
        return self.inner.exported_model(trained)

    def param_groups(self, trained: nn.Module) -> list[dict[str, Any]]:
        """Return the inner objective's."""
        return self.inner.param_groups(trained)

    def train_mode(self, trained: nn.Module) -> None:
        """Put the inner objective's network in its mode."""
        self.inner.train_mode(trained)

    def prepare(self, model: nn.Module, batch: Views, noise: Noise, progress: Progress) -> Views:
        """Return the inner objective's views."""
        return self.inner.prepare(model, batch, noise, progress)

    @contextmanager
    def around_step(
        self, trained: nn.Module, backward: Callable[[], Metrics], progress: Progress
    ) -> Iterator[None]:
        """Do what the inner objective does."""
        with self.inner.around_step(trained, backward, progress):
            yield

    def after_backward(self, trained: nn.Module, progress: Progress) -> None:
        """Change the gradients as the inner objective does."""
        self.inner.after_backward(trained, progress)

    def __call__(
        self, model: nn.Module, batch: Views, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Metrics]:
        """Return the inner objective's loss."""
        return self.inner(model, batch, noise, progress)

    def perturbed(self, model: nn.Module, batch: Views, noise: Noise) -> Tensor:
        """Return the inner objective's images."""
        return self.inner.perturbed(model, batch, noise)
