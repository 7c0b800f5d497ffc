"""The tables there are: their cells, what they ask of runs, and how their cells are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robust_transfer.report.index import published
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index
from robust_transfer.report.index.protocols import Spec
from robust_transfer.report.study import mini_study

NAMES = ("quickstart", *mini_study.TABLES, *published.TABLES)
QUICKSTART = Spec(source="mnist5k", experiment="quickstart", threat=None)

TITLE = {
    "quickstart": "Quickstart: digits, with and without pre-training on MNIST",
    "2": "Table 2: empirical robustness after fine-tuning with AT, by pre-training",
    "3": "Table 3: certified robustness after fine-tuning with CR, by pre-training",
    "4": "Table 4: robust and standard pre-training compared",
    "5": "Table 5: standard fine-tuning of the last layer of a CR model, certified",
}


def kind_of(table: str) -> str:
    """Return which table of the study a table answers to, by its number; the quickstart answers to none."""
    return table.removeprefix("mini")


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
    if table in mini_study.TABLES:
        return mini_study.cells(kind_of(table))
    return list(published.results()[table])


def spec_of(table: str) -> Spec:
    """Return what a table asks of its runs."""
    if table in mini_study.TABLES:
        return mini_study.SPEC
    return QUICKSTART if table == "quickstart" else Spec(source="imagenet", experiment=f"table{table}")


def layout_of(table: str, cells: Sequence[Cell]) -> Layout:
    """Arrange a table's cells: as the study does, the quickstart's one a row."""
    kind = kind_of(table)
    if table == "quickstart":
        return _layout(("track", "pretrain"), cells, lambda c: (_track(c), c.pretrain), lambda c: "")
    if kind == "4":
        return _layout(("dataset", "pretrain"), cells, _table4_row, _track)
    if kind == "5":
        return _layout(("dataset",), cells, lambda c: (c.target,), lambda c: f"σ={c.sigma:g}")
    return _layout(("dataset",), cells, lambda c: (c.target,), lambda c: c.pretrain)


def _table4_row(cell: Cell) -> tuple[str, ...]:
    robust = cell.pretrain in ("at", "cr")
    return (cell.target, "at / cr" if robust else cell.pretrain)


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
    """Return the digits cells of both tracks: `none`, and every pre-training of the preset's runs."""
    tracks = {("at", "autopgd", None): {"none"}, ("cr", "certify", None): {"none"}}
    sigma = shots = None
    for run in index.runs if index else ():
        cell = run.cell
        track = (cell.finetune, cell.evaluator, None)
        if run.lineage.get("experiment") == "quickstart" and cell.dataset == "digits" and track in tracks:
            tracks[track].add(cell.pretrain)
            sigma, shots = cell.sigma or sigma, cell.shots
    order = {"none": 0, "at": 1, "cr": 1, "st": 2, "simclr": 3}
    return [
        Cell("digits", pretrain, finetune, evaluator, sigma if evaluator == "certify" else None, shots)
        for (finetune, evaluator, _), pretrains in tracks.items()
        for pretrain in sorted(pretrains, key=lambda name: (order.get(name, 4), name))
    ]
