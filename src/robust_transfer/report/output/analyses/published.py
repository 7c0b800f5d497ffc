"""What the study's tables reveal of their own precision: the n that their decimals allow, and its power."""

from __future__ import annotations

from robust_transfer.core.errors import ConfigError
from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.output.analyses.answer import Answer, Question
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.claims import CERTIFIED_IMAGES as STATED
from robust_transfer.report.study.printed import Resolution, granularity, resolutions
from robust_transfer.report.study.wording import method_text

COLUMNS = (
    "part",
    "table",
    "dataset",
    "pretrain",
    "metric",
    "n",
    "value",
    "half_width",
    "smallest_shown",
    "says",
)


def answer(question: Question) -> Answer:
    """Check the decimals of Table 3, and the power of every comparison with no pre-training."""
    if question.words:
        raise ConfigError("the published tables are analysed together", "rt-report analysis published")
    sets = granularity()
    impossible = sum(one.impossible for one in sets)
    cells = sum(one.cells for one in sets)
    fit_stated, fit_rule = (
        sum(fits) for fits in zip(*((o.fits_stated, o.fits_rule) for o in sets), strict=True)
    )
    rows: list[tuple[object, ...]] = [
        ("granularity", "3", one.dataset, "", "", one.rule, float(one.impossible), None, None, one.text)
        for one in sets
    ]
    grid = Grid(
        ("data set", f"impossible at n = {STATED}", "n that fit all six", "N // (N // 500)", "fits"),
        tuple(
            (o.dataset, f"{o.impossible} of {o.cells}", o.text, str(o.rule), "yes" if o.fits_rule else "no")
            for o in sets
        ),
        title="Table 3: which numbers of images its decimals allow",
    )
    says = (
        f"{impossible} of {cells} accuracies of Table 3 are not multiples of 1/{STATED}: they are not shares "
        f"of {STATED} images. All cells of {fit_stated} of {len(sets)} sets fit n = {STATED}, of {fit_rule} "
        "one image in N // 500 of their N test images. The rest fit neither: another subset or split."
    )
    powers = resolutions()
    rows += [
        (
            *("power", r.table, r.cell.dataset, r.cell.pretrain, r.metric, r.images),
            *(100 * share for share in (r.change, r.half_width, r.smallest)),
            "shown" if r.shown else "not shown",
        )
        for r in powers
    ]
    blocks = (grid, Paragraph((says,)), _power_grid(powers), Paragraph((POWER,)))
    title = "What the published tables reveal of their own precision"
    return Answer("published", title, blocks, COLUMNS, tuple(rows), ())


POWER = (
    "Shown: changes that two independent proportions of n images tell apart at 5 %; the study pairs "
    "models on images, which shows somewhat more, and has one model per cell, whose seed no n averages out."
    " Half-width: of the 95 % interval of one change. Power: the smallest change that n images show in "
    "80 of 100 studies."
)


def _power_grid(changes: list[Resolution]) -> Grid:
    kinds: dict[tuple[str, str, str], list[Resolution]] = {}
    for one in changes:
        kinds.setdefault((one.table, one.cell.pretrain, one.metric), []).append(one)
    rows = []
    for (table, pretrain, metric), group in kinds.items():
        spans = [[100 * getattr(one, name) for one in group] for name in ("half_width", "smallest")]
        images = sorted({one.images for one in group})
        texts = (f"{min(span):.1f}-{max(span):.1f}" for span in spans)
        n = f"{images[0]}" if len(images) == 1 else f"{images[0]}-{images[-1]}"
        shown = f"{sum(one.shown for one in group)} of {len(group)}"
        rows.append((table, method_text(pretrain), TITLES[metric], n, shown, *texts))
    headers = ("table", "pre-training", "metric", "n", "shown", "half-width", "power 80 %")
    return Grid(headers, tuple(rows), 3, "Changes against no pre-training, in points")
