"""A table's definition: its cells, its requirements of runs, its layout, and the commands that fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study.blocks import Block, Grid


@dataclass(frozen=True)
class Column:
    """One metric of one group of cells; `group` is the position of the cell in a row."""

    header: str
    group: int
    metric: str


@dataclass(frozen=True)
class Layout:
    """Rows of cells under columns."""

    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Arrangement:
    """How cells are laid out.

    labels : headers of a row's labels
    row_of : labels of a cell's row
    group_of : header of a cell's columns
    """

    labels: tuple[str, ...]
    row_of: Callable[[Cell], tuple[str, ...]]
    group_of: Callable[[Cell], str]

    def layout(self, cells: Sequence[Cell]) -> Layout:
        """Arrange cells."""
        groups: dict[str, tuple[str, ...]] = {}
        rows: dict[tuple[str, ...], dict[str, Cell]] = {}
        for cell in cells:
            name = self.group_of(cell)
            groups[name] = max(groups.get(name, ()), cell.metrics, key=len)
            rows.setdefault(self.row_of(cell), {})[name] = cell
        columns = [
            Column(f"{name} {TITLES[metric]}".strip(), position, metric)
            for position, (name, metrics) in enumerate(groups.items())
            for metric in metrics
        ]
        placed = ((label, tuple(row[name] for name in groups)) for label, row in rows.items())
        return Layout(self.labels, tuple(columns), tuple(placed))


@dataclass(frozen=True)
class Presentation:
    """How a table is written whose form is not the study's.

    sections : its parts
    grid : the whole of it as one grid
    caption : what the numbers are and what may be concluded
    """

    sections: Callable[[Sequence[Result]], list[Block]]
    grid: Callable[[Sequence[Result]], Grid]
    caption: Callable[[Sequence[Result]], str]


@dataclass(frozen=True)
class TableSpec:
    """A table of the report; another package adds one by an entry point in `robust_transfer.tables`.

    name : as in `rt-report table NAME`
    title : its heading, "Table N: what it shows"
    cells : its cells in order, where they depend on a store's runs
    requirements : of its runs
    arrangement : how its cells are laid out
    command : what fills a cell: {pretrain}, {finetune} and {datasets} are replaced, and cells whose command
        differs in {datasets} alone share one
    published : the study's numbers for these cells are known
    figure : the form of its figure: gains over several data sets, or single points with intervals
    improves_all : the study's caption says that pre-training improves every set
    small : images and networks are small, which its title says
    presentation : how it is written where its form is not the study's
    """

    name: str
    title: str
    cells: Callable[[Index | None], Sequence[Cell]]
    requirements: Requirements
    arrangement: Arrangement
    command: str
    published: bool = False
    figure: Literal["gains", "points"] | None = None
    improves_all: bool = False
    small: bool = False
    presentation: Presentation | None = None

    def commands(self, cells: Iterable[Cell]) -> list[str]:
        """Return the commands that fill cells, one for all data sets that share the rest."""
        datasets: dict[str, dict[str, None]] = {}
        for cell in cells:
            shared = self.command.replace("{pretrain}", cell.pretrain).replace("{finetune}", cell.finetune)
            datasets.setdefault(shared, {})[cell.dataset] = None
        return [text.replace("{datasets}", ",".join(names)) for text, names in datasets.items()]
