"""Every training method under one protocol: tables methods and methods_mini, and the tests between methods.

Fine-tunings are compared from the same pre-trainings, and pre-trainings under the same fine-tunings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from robust_transfer.core.statistics import LEVEL, holm
from robust_transfer.report.analysis.estimates import Estimate, Result, difference
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study.blocks import Block, Grid, Paragraph
from robust_transfer.report.study.spec import Arrangement, Presentation, TableSpec
from robust_transfer.report.study.wording import change_text, interval_text, metric_text, units_text

SIGMA = 0.5
MEASURED_BY = {"attacked": ("autopgd", None), "certified": ("certify", SIGMA)}
FINETUNINGS = {
    "attacked": (
        *("st", "lwf", "at_linear", "at", "at_roli", "at_ramp", "at_ema", "at_awp"),
        *("trades", "trades_awp", "free", "twins"),
    ),
    "certified": ("st", "gaussian", "cr_linear", "cr", "macer", "smoothmix", "smoothadv", "crt"),
}
PROBES = {"attacked": ("st_linear", "at"), "certified": ("cr",)}
STARTS = ("st", "at")  # what all fine-tunings start from
PRETRAININGS = (
    *("none", "st", "at", "trades", "free", "gaussian", "cr", "macer", "smoothmix", "smoothadv"),
    *("simclr", "byol", "moco", "swav", "deacl", "acl", "dynacl"),
    *("rotation_plain", "rotation", "jigsaw_plain", "jigsaw"),
)
# (methods expected to be better, than which, in which metric): fine-tunings from each start, pre-trainings
# under a linear probe.
BETTER_FINETUNINGS = (
    (("smoothadv", "macer", "smoothmix", "cr"), "gaussian", "acr"),
    (("crt",), "st", "acr"),
    (("at", "at_awp", "trades", "trades_awp", "free", "twins"), "st", "ra"),
    (("at_roli",), "at", "ra"),
)
BETTER_PRETRAININGS = (
    (("deacl", "acl", "dynacl"), "simclr", "ra"),
    (("rotation",), "rotation_plain", "ra"),
    (("jigsaw",), "jigsaw_plain", "ra"),
)
CAPTION = (
    "SA and RA in %, ACR in L2 units of [0, 1] pixels, with 95 % intervals over pre-trainings, seeds and "
    "images. Differences are paired by seed and image; p is adjusted by Holm over all differences shown."
)


@dataclass(frozen=True)
class Verdict:
    """A difference between two models of one target, better minus worse, and what its adjusted test says.

    p : adjusted by Holm over all verdicts
    says : better, worse, or not distinct
    """

    better: Cell
    worse: Cell
    metric: str
    change: Estimate
    p: float
    says: str


def compared_finetunings(dataset: str, shots: int | None, start: str) -> list[Cell]:
    """Return the cells of all fine-tunings of one pre-training."""
    return _cells(dataset, shots, (start,), FINETUNINGS)


def compared_pretrainings(dataset: str, shots: int | None) -> list[Cell]:
    """Return the cells of all pre-trainings under the same fine-tunings."""
    return _cells(dataset, shots, PRETRAININGS, PROBES)


def _cells(
    dataset: str, shots: int | None, starts: Sequence[str], finetunings: dict[str, tuple[str, ...]]
) -> list[Cell]:
    return [
        Cell(dataset, start, finetune, *MEASURED_BY[how], shots)
        for how, names in finetunings.items()
        for start in starts
        for finetune in names
    ]


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    """Test every pair of methods of which one is expected to be better."""
    tested = []
    for better, worse, metric in _pairs(results):
        change = difference(better, worse, metric)
        if change is not None and change.p is not None:
            tested.append((better.cell, worse.cell, metric, change, change.p))
    adjusted = holm([row[-1] for row in tested])
    return [
        Verdict(better, worse, metric, change, p, _says(change, p))
        for (better, worse, metric, change, _), p in zip(tested, adjusted, strict=True)
    ]


def _says(change: Estimate, p: float) -> str:
    if p >= 1 - LEVEL:
        return "not distinct"
    return "better" if change.value > 0 else "worse"


def _pairs(results: Sequence[Result]) -> list[tuple[Result, Result, str]]:
    by_cell = {result.cell: result for result in results}
    pairs = []
    for cell, result in by_cell.items():
        if cell.finetune == "st_linear":
            group = [(replace(cell, pretrain=w), m) for b, w, m in BETTER_PRETRAININGS if cell.pretrain in b]
        else:
            group = [(replace(cell, finetune=w), m) for b, w, m in BETTER_FINETUNINGS if cell.finetune in b]
            group = group if cell.pretrain in STARTS else []
        pairs += [(result, by_cell[other], metric) for other, metric in group if other in by_cell]
    return pairs


def sections(results: Sequence[Result]) -> list[Block]:
    """Return the numbers of fine-tunings from each start, of pre-trainings under each probe, and verdicts."""
    parts: list[Block] = [Paragraph((CAPTION,))]
    for start in STARTS:
        own = [r for r in results if r.cell.pretrain == start and not _is_probe(r.cell)]
        parts += [_numbers(own, "fine-tuning", f"Fine-tunings of {start}")] if own else []
    for finetune in (name for names in PROBES.values() for name in names):
        own = [r for r in results if r.cell.finetune == finetune]
        parts += [_numbers(own, "pre-training", f"Pre-trainings under {finetune}")] if own else []
    tests = verdicts(results)
    return [*parts, _differences(tests)] if tests else parts


def _is_probe(cell: Cell) -> bool:
    return cell.finetune == "st_linear"


def _numbers(results: Sequence[Result], label: str, title: str) -> Grid:
    metrics = ("sa", "ra", "acr")
    rows = []
    for result in results:
        cell = result.cell
        name = cell.finetune if label == "fine-tuning" else cell.pretrain
        values = [_value(result, metric) for metric in metrics]
        rows.append((name, cell.evaluator, *values, units_text(result.pretrainings, result.seeds)))
    headers = (label, "measured by", *(TITLES[metric] for metric in metrics), "units")
    return Grid(headers, tuple(rows), 2, title, notes=1)


def _value(result: Result, metric: str) -> str:
    number = result.estimates.get(metric)
    if number is None:
        return "–"
    return f"{metric_text(metric, number.value)} {interval_text(metric, number.low, number.high)}".strip()


def _differences(tests: Sequence[Verdict]) -> Grid:
    rows = tuple(
        (
            f"{v.better.pretrain} -> {v.better.finetune}",
            f"{v.worse.pretrain} -> {v.worse.finetune}",
            TITLES[v.metric],
            change_text(v.metric, v.change),
            f"{v.p:.3g}",
            v.says,
        )
        for v in tests
    )
    headers = ("should be better", "than", "in", "difference [95 %]", "p (Holm)", "is")
    return Grid(headers, rows, 3, "Does each method beat what it should beat?", notes=1)


def grid(results: Sequence[Result]) -> Grid:
    """Return all numbers as one grid."""
    whole = _numbers(results, "pre-training", "")
    rows = tuple((row[0], r.cell.finetune, *row[1:]) for row, r in zip(whole.rows, results, strict=True))
    return replace(whole, headers=("pre-training", "fine-tuning", *whole.headers[1:]), rows=rows, labels=3)


def _table(name: str, title: str, source: str, dataset: str, shots: int | None, command: str) -> TableSpec:
    def cells(index: object) -> list[Cell]:
        finetunings = [cell for start in STARTS for cell in compared_finetunings(dataset, shots, start)]
        return list(dict.fromkeys([*finetunings, *compared_pretrainings(dataset, shots)]))

    return TableSpec(
        name,
        title,
        cells,
        Requirements(source=source, experiment=name, own=True),
        Arrangement(("pre-training", "fine-tuning"), lambda c: (c.pretrain, c.finetune), lambda c: ""),
        command,
        small=source != "imagenet",
        presentation=Presentation(sections, grid, lambda results: CAPTION),
    )


TABLES = (
    _table(
        "methods",
        "Methods: every training method under one protocol",
        "imagenet",
        "pets",
        None,
        "rt-train experiment=methods pretrain={pretrain} finetune={finetune} dataset={datasets}",
    ),
    _table(
        "methods_mini",
        "Methods in miniature: every training method under one protocol",
        "mnist5k",
        "digits",
        20,
        "rt-train experiment=methods_mini cell=methods_mini/{pretrain} finetune={finetune}",
    ),
)
