"""The study's Tables 2 to 5."""

from __future__ import annotations

from collections.abc import Sequence

from robust_transfer.report.index import published
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import Index
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study.spec import Arrangement, TableSpec

BY_PRETRAINING = Arrangement(("dataset",), lambda cell: (cell.target,), lambda cell: cell.pretrain)
BY_SIGMA = Arrangement(("dataset",), lambda cell: (cell.target,), lambda cell: f"σ={cell.sigma:g}")
BY_TRACK = Arrangement(
    ("dataset", "pretrain"),
    lambda cell: (cell.target, "at / cr" if cell.pretrain in ("at", "cr") else cell.pretrain),
    lambda cell: cell.finetune.upper(),
)


def _table(
    number: str,
    sentence: str,
    arrangement: Arrangement,
    axes: str,
    *,
    gains: bool = False,
) -> TableSpec:
    def cells(index: Index | None) -> Sequence[Cell]:
        return list(published.results()[number])

    return TableSpec(
        number,
        f"Table {number}: {sentence}",
        cells,
        Requirements(source="imagenet", experiment=f"table{number}"),
        arrangement,
        f"rt-train experiment=table{number} {axes}",
        published=True,
        figure="gains" if gains else None,
        improves_all=gains,
    )


EMPIRICAL = "empirical robustness after fine-tuning with AT, by pre-training"
CERTIFIED = "certified robustness after fine-tuning with CR, by pre-training"
STANDARD = "robust and standard pre-training compared"
LAST_LAYER = "standard fine-tuning of the last layer of a CR model, certified"

TABLES = (
    _table("2", EMPIRICAL, BY_PRETRAINING, "pretrain={pretrain} dataset={datasets}", gains=True),
    _table("3", CERTIFIED, BY_PRETRAINING, "pretrain={pretrain} dataset={datasets}", gains=True),
    _table("4", STANDARD, BY_TRACK, "cell={pretrain}_{finetune} dataset={datasets}"),
    _table("5", LAST_LAYER, BY_SIGMA, "dataset={datasets}"),
)
