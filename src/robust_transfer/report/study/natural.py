"""The study in miniature: tables mini2 ... mini5, which answer to Tables 2 to 5."""

from __future__ import annotations

from collections.abc import Callable

from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study import paper
from robust_transfer.report.study.spec import Arrangement, TableSpec

DATASETS = ("digits", "textures", "faces")
SHOTS = (2, 5, 20)
SIGMA = 0.5
# Fine-tuning, which is also the robust pre-training: evaluator and sigma.
TRACKS = {"at": ("autopgd", None), "cr": ("certify", SIGMA)}


def _targets() -> list[tuple[str, int]]:
    return [(dataset, shots) for dataset in DATASETS for shots in SHOTS]


def compared(tracks: tuple[str, ...], *, standard: bool = False) -> list[Cell]:
    """Return the cells of pre-trainings after fine-tuning by `tracks`; `standard`: with ST for none."""
    return [
        Cell(dataset, pretrain, track, *TRACKS[track], shots)
        for dataset, shots in _targets()
        for track in tracks
        for pretrain in (("st", "simclr", track) if standard else ("none", track, "simclr"))
    ]


def last_layer() -> list[Cell]:
    """Return the cells of CR models whose last layer is tuned, under noise and without."""
    return [
        Cell(dataset, "cr", "st_linear", "certify", sigma, shots)
        for dataset, shots in _targets()
        for sigma in (SIGMA, 0.0)
    ]


def metrics(track: str) -> tuple[str, ...]:
    """Return what is measured of models fine-tuned by `track`."""
    return Cell("", "", track, *TRACKS[track]).metrics


def _table(
    number: str,
    sentence: str,
    cells: Callable[[], list[Cell]],
    arrangement: Arrangement,
    *,
    gains: bool = False,
) -> TableSpec:
    return TableSpec(
        f"mini{number}",
        f"Table {number} in miniature: {sentence}",
        lambda index: cells(),
        Requirements(source="mnist5k", experiment="mini_study", own=True),
        arrangement,
        "rt-train experiment=mini_study",
        figure="gains" if gains else None,
        small=True,
    )


TABLES = (
    _table("2", paper.EMPIRICAL, lambda: compared(("at",)), paper.BY_PRETRAINING, gains=True),
    _table("3", paper.CERTIFIED, lambda: compared(("cr",)), paper.BY_PRETRAINING, gains=True),
    _table("4", paper.STANDARD, lambda: compared(("at", "cr"), standard=True), paper.BY_TRACK),
    _table("5", paper.LAST_LAYER, last_layer, paper.BY_SIGMA),
)
NAMES = tuple(spec.name for spec in TABLES)
