"""Where a change in ACR comes from: images that were hard, middling or easy.

The radius grows without bound as the probability of the top class nears 1, so that the average radius can
rise on easy images alone (arXiv 2410.06895).
"""

from __future__ import annotations

import numpy as np

from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.analysis.samples import Sample, combined, paired, samples
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, pairs, results_of
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.wording import method_text

TERCILES = ("hard", "middling", "easy")
COLUMNS = (
    "finetune",
    "target",
    "pretrain",
    "tercile",
    "images",
    "acr_change",
    "low",
    "high",
    "ra_change",
    "share_of_change",
)
SAYS = (
    "ACR rewards images that are easy already and depends on n; its authors' critics advise against it "
    "(arXiv 2410.06895). Terciles are of images, by the mean over both models of their radius (the "
    "bound of the top class's probability in other units), so that neither model alone decides where "
    "an image falls. Share: of the whole change, where that is not near 0."
)


def answer(question: Question) -> Answer:
    """Split the change in ACR and RA of every pre-training by tercile of difficulty."""
    table = question.table("3", published=False)
    by_method = pairs(table)
    rows = [
        (finetune, ours.cell.target, pretrain, *row)
        for (finetune, pretrain), group in by_method.items()
        for ours, theirs in group
        for row in by_tercile(ours, theirs)
    ]
    shown = tuple(
        (
            *(str(r[1]), method_text(str(r[2])), str(r[3]), str(r[4])),
            f"{r[5]:+.3f} [{r[6]:+.3f}, {r[7]:+.3f}]",
            f"{r[8]:+.1f}",
            "–" if r[9] is None else f"{r[9]:.0f}",
        )
        for r in rows
    )
    headers = ("target", "pre-training", "images", "n", "ACR change [95 %]", "RA points", "share %")
    blocks = (Grid(headers, shown, 3), Paragraph((SAYS,)))
    results = results_of([pair for group in by_method.values() for pair in group])
    title = f"Where changes in ACR come from, table {table.spec.name}"
    return Answer(name_of("radii", table), title, blocks, COLUMNS, tuple(rows), results)


def by_tercile(ours: Result, theirs: Result) -> list[tuple[object, ...]]:
    """Return (tercile, images, change in ACR, low, high, in RA in points, share of the change in %)."""
    measured = [samples(result.runs) for result in (ours, theirs)]
    if not all({"acr", "ra"} <= values.keys() for values in measured):
        return []
    acr, ra = (paired(measured[0][metric], measured[1][metric]) for metric in ("acr", "ra"))
    if acr is None or ra is None:
        return []
    difficulty = np.mean([sample.values.mean(axis=(0, 1)) for sample in acr], axis=0)
    changes, robust = combined(np.subtract, *acr), combined(np.subtract, *ra)
    whole = float(changes.values.sum(axis=2).mean())
    rows: list[tuple[object, ...]] = []
    for name, images in zip(TERCILES, np.array_split(np.argsort(difficulty, kind="stable"), 3), strict=True):
        part = _of(changes, images)
        mean = crossed.mean(part)
        share = 100 * float(part.sum(axis=2).mean()) / whole if abs(whole) > 0 else None
        points = 100 * float(_of(robust, images).mean())
        rows.append((name, len(images), mean.value, mean.low, mean.high, points, share))
    return rows


def _of(sample: Sample, images: np.ndarray[tuple[int], np.dtype[np.intp]]) -> crossed.Array:
    return sample.values[:, :, images]
