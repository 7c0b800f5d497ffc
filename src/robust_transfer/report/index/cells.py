"""A cell of a table: which models are measured how; and the command that fills it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

METRICS = ("sa", "ra", "acr")
METHODS = {"st": "ST", "at": "AT", "cr": "CR", "simclr": "SimCLR"}
TITLES = {"sa": "SA", "ra": "RA", "acr": "ACR"}
RA_RADIUS = 0.5  # the study's eps, in [0, 1] pixel units, L2


@dataclass(frozen=True)
class Cell:
    """What the models of a table's cell have in common.

    sigma : noise of the certificate, None for attacks
    shots : training images a class, None for all
    """

    dataset: str
    pretrain: str
    finetune: str
    evaluator: str
    sigma: float | None
    shots: int | None = None

    @property
    def target(self) -> str:
        """What is learnt, for a reader: the data set and, where they are few, its images a class."""
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
        return METRICS if self.evaluator == "certify" else METRICS[:2]


def command_for(table: str, cell: Cell, datasets: Iterable[str] | None = None) -> str:
    """Return the rt-train command that fills a cell of a table, for one or several data sets."""
    names = ",".join(datasets if datasets is not None else [cell.dataset])
    if table == "quickstart":
        return "rt-train experiment=quickstart"
    if table.startswith("mini"):
        return "rt-train experiment=mini_study"
    if table == "4":
        return f"rt-train experiment=table4 cell={cell.pretrain}_{cell.finetune} dataset={names}"
    if table == "5":
        return f"rt-train experiment=table5 dataset={names}"
    return f"rt-train experiment=table{table} pretrain={cell.pretrain} dataset={names}"


def commands_for(table: str, cells: Iterable[Cell]) -> list[str]:
    """Return the commands that fill several cells, one for all data sets that share the rest."""
    datasets: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        pretrain = "" if table in ("5", "quickstart") else cell.pretrain
        datasets.setdefault((pretrain, cell.finetune), {})[cell.dataset] = cell
    commands = [command_for(table, next(iter(d.values())), d) for d in datasets.values()]
    return list(dict.fromkeys(commands))
