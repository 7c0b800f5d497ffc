"""Notice a number that is not finite before a checkpoint could keep its consequences."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from robust_transfer.core.errors import ConfigError
from robust_transfer.core.files import write_json
from robust_transfer.distributed.context import Context


class NonFinite(ConfigError):
    """A loss, a metric or a weight is not finite."""


class NonFiniteMonitor:
    """Keeps the loss and metrics of the last steps on the device and checks them when asked to.

    Checking every step would make the processor wait for the GPU in every step.
    """

    def __init__(self, context: Context, directory: Path) -> None:
        self._context, self._directory = context, directory
        self._seen: list[tuple[int, Tensor, Tensor]] = []
        self._names: list[str] = []
        self._newest: dict[str, float] = {}

    def note(self, step: int, values: dict[str, Tensor], indices: Tensor) -> None:
        """Remember one step's numbers and the positions of its local images; a skipped step has none."""
        if not values:
            self.forget()
            return
        self._names = list(values)
        row = torch.stack([value.detach().double() for value in values.values()])
        self._seen.append((step, row, indices))

    def forget(self) -> None:
        """Know of no step."""
        self._seen.clear()
        self._newest = {}

    def check(self) -> dict[str, float]:
        """Return the newest step's numbers, as means over the processes.

        Raises
        ------
        NonFinite : one of the numbers since the last check is not finite; nonfinite.json holds its batch
        """
        if not self._seen:
            return self._newest
        table = self._context.mean(torch.stack([values for _, values, _ in self._seen])).tolist()
        for (step, _, indices), row in zip(self._seen, table, strict=True):
            for name, value in zip(self._names, row, strict=True):
                if not math.isfinite(value):
                    raise self._stop(step, name, value, indices)
        self._seen.clear()
        self._newest = dict(zip(self._names, table[-1], strict=True))
        return self._newest

    def check_weights(self, model: nn.Module, step: int) -> None:
        """Refuse weights that are not finite: a gradient can overflow where the loss did not."""
        norms = torch.stack([parameter.detach().float().norm() for parameter in model.parameters()])
        if not torch.isfinite(norms).all():
            raise NonFinite(
                f"weights are not finite after step {step}, although its loss was",
                "a lower learning rate, or precision=fp32; the checkpoint before this step stays",
            )

    def _stop(self, step: int, name: str, value: float, indices: Tensor) -> NonFinite:
        batch = self._context.gather(indices).tolist()
        path = self._directory / "nonfinite.json"
        if self._context.is_main:
            write_json(path, {"step": step, "metric": name, "value": str(value), "batch": batch})
        shown = ", ".join(map(str, batch[:8])) + (", ..." if len(batch) > 8 else "")
        return NonFinite(
            f"{name} is {value} in step {step}, batch of images {shown}",
            f"{path} lists the whole batch; the last checkpoint before this step stays",
            "a lower learning rate, a longer warm-up, or precision=fp32",
        )
