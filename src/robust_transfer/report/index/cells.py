"""A cell of a table: which models are measured how."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robust_transfer.config.evaluators import evaluator_spec

METHODS = {"st": "ST", "at": "AT", "cr": "CR", "simclr": "SimCLR"}
TITLES = {"sa": "SA", "ra": "RA", "acr": "ACR"}


@dataclass(frozen=True)
class Cell:
    """What the models of a table's cell have in common.

    sigma : noise of the certificate, None for attacks
    shots : training images per class, None for all
    """

    dataset: str
    pretrain: str
    finetune: str
    evaluator: str
    sigma: float | None
    shots: int | None = None

    @property
    def target(self) -> str:
        """The target task, for a reader: the data set and, where labels are few, the shots."""
        return self.dataset if self.shots is None else f"{self.dataset} {self.shots}-shot"

    @property
    def reference(self) -> Cell:
        """The cell that gains are relative to: the same, without pre-training."""
        return replace(self, pretrain="none")

    @property
    def group(self) -> Cell:
        """What all cells share that are compared on one target; its pretrain is empty."""
        return replace(self, pretrain="")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that the cell's evaluator measures."""
        return evaluator_spec(self.evaluator).metrics
