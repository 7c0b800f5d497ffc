"""The tables there are: their cells, what they ask of runs, and how their cells are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robust_transfer.report import published
from robust_transfer.report.cells import TITLES, Cell
from robust_transfer.report.collect import Index
from robust_transfer.report.protocols import Spec

NAMES = ("quickstart", *published.TABLES)
QUICKSTART = Spec(source="mnist5k", experiment="quickstart", threat=None, all_labels=False)

TITLE = {
    "quickstart": "Quickstart: digits, with and without pre-training on MNIST",
    "2": "Table 2: empirical robustness after fine-tuning with AT, by pre-training",
    "3": "Table 3: certified robustness after fine-tuning with CR, by pre-training",
    "4": "Table 4: robust and standard pre-training compared",
    "5": "Table 5: standard fine-tuning of the last layer of a CR model, certified",
}


@dataclass(frozen=True)
class Column:
    """One metric of one group of cells; `group` is the position of the cell in a row."""

    header: str
    group: int
    metric: str


@dataclass(frozen=True)
class Layout:
    """The study's arrangement: rows of cells under columns."""

    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]


def cells_of(table: str, index: Index | None) -> list[Cell]:
    """Return the cells of a table, in its order."""
    if table == "quickstart":
        return _quickstart_cells(index)
    return list(published.results()[table])


def spec_of(table: str) -> Spec:
    """Return what a table asks of its runs."""
    return QUICKSTART if table == "quickstart" else Spec(source="imagenet", experiment=f"table{table}")


def layout_of(table: str, cells: Sequence[Cell]) -> Layout:
    """Arrange a table's cells: the published ones as the study does, the quickstart's one a row."""
    if table == "quickstart":
        return _layout(("track", "pretrain"), cells, lambda c: (_track(c), c.pretrain), lambda c: "")
    if table == "4":
        return _layout(("dataset", "pretrain"), cells, _table4_row, _track)
    if table == "5":
        return _layout(("dataset",), cells, lambda c: (c.dataset,), lambda c: f"σ={c.sigma:g}")
    return _layout(("dataset",), cells, lambda c: (c.dataset,), lambda c: c.pretrain)


def _table4_row(cell: Cell) -> tuple[str, ...]:
    robust = cell.pretrain in ("at", "cr")
    return (cell.dataset, "at / cr" if robust else cell.pretrain)


def _track(cell: Cell) -> str:
    return cell.finetune.upper()


def _layout(
    labels: tuple[str, ...],
    cells: Sequence[Cell],
    row_of: Callable[[Cell], tuple[str, ...]],
    group_of: Callable[[Cell], str],
) -> Layout:
    groups: dict[str, tuple[str, ...]] = {}
    rows: dict[tuple[str, ...], dict[str, Cell]] = {}
    for cell in cells:
        name = group_of(cell)
        groups[name] = max(groups.get(name, ()), cell.metrics, key=len)
        rows.setdefault(row_of(cell), {})[name] = cell
    columns = [
        Column(f"{name} {TITLES[metric]}".strip(), position, metric)
        for position, (name, metrics) in enumerate(groups.items())
        for metric in metrics
    ]
    placed = ((label, tuple(found[name] for name in groups)) for label, found in rows.items())
    return Layout(labels, tuple(columns), tuple(placed))


def _quickstart_cells(index: Index | None) -> list[Cell]:
    """Return the digits cells of both tracks: `none`, and every pre-training the store has."""
    tracks = {("at", "autopgd", None): {"none"}, ("cr", "certify", None): {"none"}}
    sigma = None
    for cell in index.by_cell if index else ():
        track = (cell.finetune, cell.evaluator, None)
        if cell.dataset == "digits" and track in tracks:
            tracks[track].add(cell.pretrain)
            sigma = cell.sigma if cell.sigma else sigma
    order = {"none": 0, "at": 1, "cr": 1, "st": 2, "simclr": 3}
    return [
        Cell("digits", pretrain, finetune, evaluator, sigma if evaluator == "certify" else None)
        for (finetune, evaluator, _), pretrains in tracks.items()
        for pretrain in sorted(pretrains, key=lambda name: (order.get(name, 4), name))
    ]
