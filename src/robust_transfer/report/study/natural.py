"""The study on real photographs at 32 pixels: tables natural2 ... natural5, which answer to Tables 2 to 5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import Index
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study import paper
from robust_transfer.report.study.spec import Arrangement, TableSpec

DATASETS = ("caltech101", "cifar10", "dtd10", "pets3", "digits", "faces")
SHOTS = (5, 20)
EPS = 0.15  # L2; by the rule of docs/natural-study.md
STUDY_EPS = 0.071  # the study's 0.5 of 224 pixels, scaled to 32
GPU_EPS = 0.3  # at 64 pixels, by the same page
SIGMA = 0.12
# The targets and robust fine-tunings of a network that others trained, by track.
WEIGHTS_DATASETS = ("caltech101", "dtd10", "pets3")
WEIGHTS_FINETUNINGS = {"at": ("at", "trades", "at_ramp"), "cr": ("cr", "macer")}
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
    name: str,
    title: str,
    cells: Callable[[], list[Cell]],
    arrangement: Arrangement,
    command: str,
    *,
    experiment: str | None = None,
    eps: float = EPS,
    gains: bool = False,
) -> TableSpec:
    """Return a table of `experiment`, by default that of its own name."""
    return TableSpec(
        name,
        title,
        lambda index: _of_blocks(index, cells()),
        _requirements(experiment or name, eps),
        arrangement,
        f"rt-train experiment={command}",
        figure="gains" if gains else None,
        small=True,
    )


def _numbered(
    number: str,
    sentence: str,
    cells: Callable[[], list[Cell]],
    arrangement: Arrangement,
    *,
    gains: bool = False,
) -> TableSpec:
    title = f"Table {number} on small photographs: {sentence}"
    return _table(f"natural{number}", title, cells, arrangement, "natural", experiment="natural", gains=gains)


def _of_blocks(index: Index | None, cells: list[Cell]) -> list[Cell]:
    """Return the cells of the numbers of labels that a store has runs of: a block stands by itself."""
    run = {cell.shots for cell in cells if index and index.by_cell.get(cell)}
    return [cell for cell in cells if not run or cell.shots in run]


def _requirements(experiment: str, eps: float = EPS) -> Requirements:
    return Requirements(source="tiny_imagenet", experiment=experiment, threat=("l2", eps), own=True)


def unpretrained() -> list[Cell]:
    """Return the cells without pre-training."""
    return [cell for track in TRACKS for cell in compared((track,)) if cell.pretrain == "none"]


def every_pretraining(tracks: tuple[str, ...]) -> list[Cell]:
    """Return the cells of all four pre-trainings after fine-tuning by `tracks`, by target."""
    return [
        Cell(dataset, track if kind == "robust" else kind, track, *TRACKS[track], shots)
        for dataset, shots in _targets()
        for kind in ("none", "st", "robust", "simclr")
        for track in tracks
    ]


def from_weights() -> list[Cell]:
    """Return the cells of a published network, and those of the same network without pre-training."""
    return [
        Cell(dataset, pretrain, finetune, *TRACKS[track], shots)
        for dataset, shots in _targets()
        if dataset in WEIGHTS_DATASETS
        for track, finetunings in WEIGHTS_FINETUNINGS.items()
        for finetune in finetunings
        for pretrain in (("none", "checkpoint") if finetune == track else ("checkpoint",))
    ]


TABLES = (
    _numbered("2", paper.EMPIRICAL, lambda: compared(("at",)), paper.BY_PRETRAINING, gains=True),
    _numbered("3", paper.CERTIFIED, lambda: compared(("cr",)), paper.BY_PRETRAINING, gains=True),
    _numbered("4", paper.STANDARD, lambda: compared(("at", "cr"), standard=True), paper.BY_TRACK),
    _numbered("5", paper.LAST_LAYER, last_layer, paper.BY_SIGMA),
)
NAMES = tuple(spec.name for spec in TABLES)
LONG = _table(
    "natural_long",
    "Small photographs: no pre-training, and ten times the steps of fine-tuning",
    unpretrained,
    paper.BY_TRACK,
    "natural cell=natural/{pretrain}_{finetune}_long",
)
ACR = _table(
    "natural_acr",
    "Small photographs: average certified radius, by exact certificates of fewer images and samples",
    lambda: every_pretraining(("cr",)),
    paper.BY_PRETRAINING,
    "natural_acr",
)
STUDY_RADIUS = _table(
    "natural_0071",
    "Small photographs: the same networks attacked at the study's radius, scaled by the number of pixels",
    lambda: every_pretraining(("at",)),
    paper.BY_PRETRAINING,
    f"natural cell=natural/{{pretrain}}_at autopgd.eps={STUDY_EPS} label=natural_0071 "
    f"finetune.attack.eps={EPS}",
    eps=STUDY_EPS,
)
GPU = _table(
    "natural_gpu",
    "Photographs of 64 pixels, a network eight times as wide: none, standard, robust and SimCLR pre-training",
    lambda: every_pretraining(tuple(TRACKS)),
    paper.BY_TRACK,
    "natural_gpu cell=natural/{pretrain}_{finetune}",
    eps=GPU_EPS,
)
WEIGHTS = TableSpec(
    "natural_weights",
    "Small photographs: a network that others trained on CIFAR-10, by robust fine-tuning",
    lambda index: _of_blocks(index, from_weights()),
    replace(_requirements("natural_weights"), source=None),
    Arrangement(
        ("dataset", "fine-tuning", "pretrain"),
        lambda cell: (cell.target, cell.finetune, cell.pretrain),
        lambda cell: "",
    ),
    "rt-train experiment=natural_weights",
    small=True,
)
OTHERS = (LONG, ACR, STUDY_RADIUS, GPU, WEIGHTS)
