"""The study in miniature: which cells its tables mini2 ... mini5 have."""

from __future__ import annotations

from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.protocols import Spec

TABLES = ("mini2", "mini3", "mini4", "mini5")
SPEC = Spec(source="mnist5k", experiment="mini_study", own=True)
DATASETS = ("digits", "textures", "faces")
SHOTS = (2, 5, 20)
SIGMA = 0.5
TRACKS = {
    "at": ("autopgd", None),
    "cr": ("certify", SIGMA),
}  # fine-tuning, which is also the robust pre-training


def cells(kind: str) -> list[Cell]:
    """Return the cells of the table that answers to table `kind` of the study."""
    if kind == "5":
        return [
            Cell(dataset, "cr", "st_linear", "certify", sigma, shots)
            for dataset, shots in _targets()
            for sigma in (SIGMA, 0.0)
        ]
    tracks = {"2": ("at",), "3": ("cr",), "4": ("at", "cr")}[kind]
    return [
        Cell(dataset, pretrain, track, *TRACKS[track], shots)
        for dataset, shots in _targets()
        for track in tracks
        for pretrain in (("st", "simclr", track) if kind == "4" else ("none", track, "simclr"))
    ]


def metrics(track: str) -> tuple[str, ...]:
    """Return what is measured of models fine-tuned by `track`."""
    return Cell("", "", track, *TRACKS[track]).metrics


def _targets() -> list[tuple[str, int]]:
    return [(dataset, shots) for dataset in DATASETS for shots in SHOTS]
