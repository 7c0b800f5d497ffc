"""What an evaluator is: columns, a journal it writes row by row, records folded from the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from robust_transfer.core.progress import ProgressBar
from robust_transfer.distributed.context import Context, single
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.warnings import Warnings
from robust_transfer.models.fast import fast_inference
from robust_transfer.models.normalized import Classifier
from robust_transfer.store.journal import Journal

Rows = Sequence[dict[str, str]]


@dataclass(frozen=True)
class EvalContext:
    """The model under evaluation, its device, and where progress and warnings go.

    model : in eval mode, on `device`
    sample : returns that many of the images to be measured, evenly spread, whether done or not; None: a few
        images are measured again
    num_images : number of images that the whole evaluation measures
    references : the models that the evaluator's spec names, in eval mode, on `device`
    is_main : whether this process makes the checks that are made once per evaluation
    processes : those that measure together
    """

    model: Classifier
    device: torch.device
    compile: bool
    progress: ProgressBar
    warnings: Warnings
    sample: Callable[[int], ImageBatch] | None = None
    num_images: int = 0
    references: Mapping[str, Classifier] = field(default_factory=dict)
    is_main: bool = True
    processes: Context = field(default_factory=lambda: single("cpu"))
    _fast: dict[str, nn.Module] = field(default_factory=dict, repr=False, compare=False)
    _asked: set[str] = field(default_factory=set, repr=False, compare=False)

    def once(self, name: str) -> bool:
        """Tell whether this is the first time in the evaluation that the process asks for `name`."""
        first = name not in self._asked
        self._asked.add(name)
        return first

    def fast_model(self, arithmetic: str) -> nn.Module:
        """Return the model's fast copy, folded and compiled once per evaluation."""
        if arithmetic not in self._fast:
            self._fast[arithmetic] = fast_inference(self.model, arithmetic=arithmetic, compile=self.compile)
        return self._fast[arithmetic]

    def kernels(self, arithmetic: str) -> str | None:
        """Name what computes in low precision, where another kernel is another classifier; None in fp32."""
        if arithmetic == "fp32":
            return None
        return f"{'compiled, constant weights' if self.compile else 'eager'}, torch {torch.__version__}"


class Evaluator(Protocol):
    """One way to measure a model on test images; stateless but for its settings.

    together : whether every process is handed all images, and `measure` shares out the work; otherwise each
        is handed images of its own
    """

    journal_columns: tuple[str, ...]
    together: bool

    def header(self, context: EvalContext) -> dict[str, Any]:
        """Return what must not be mixed within one evaluation, besides device and arithmetic."""
        ...

    def finished(self, rows: Rows, labels: Sequence[int]) -> set[int]:
        """Return the images that the journalled rows complete."""
        ...

    def measure(self, context: EvalContext, images: ImageBatch, rows: Rows, journal: Journal) -> None:
        """Complete `images` beyond their journalled `rows`; journal as it goes, flags before rows."""
        ...

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Fold the rows of all shards into one record per image, sorted by index, with the spec's columns."""
        ...

    def flags(self, rows: Rows) -> list[str]:
        """Return the flags that count images, folded from the rows of all shards."""
        ...


class RowPerImage:
    """What evaluators share whose journal has one row per image, the same on every kind of device."""

    together = False

    def header(self, context: EvalContext) -> dict[str, Any]:
        """Return nothing: there is nothing further that must not be mixed."""
        return {}

    def finished(self, rows: Rows, labels: Sequence[int]) -> set[int]:
        """Return the images that have a row."""
        return {int(row["index"]) for row in rows}

    def flags(self, rows: Rows) -> list[str]:
        """Return none: single images get no flags."""
        return []
