"""What a point of robust accuracy costs, and from how many targets pre-training pays off."""

from __future__ import annotations

import math

import numpy as np

from robust_transfer.report.analysis.averages import over_sets
from robust_transfer.report.index.costs import Cost
from robust_transfer.report.output.analyses.answer import Answer, Question, name_of, pairs, results_of
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.wording import method_text

LONGER = 10  # times as long as no pre-training: what pre-training is weighed against
WATTS = 300  # of a device, at which hours become kilowatt-hours
COLUMNS = (
    "finetune", "pretrain", "targets", "pretrain_hours", "hours_a_target", "hours_a_target_none", "ra_points",
    "ra_low", "ra_high", "hours_a_point", "kwh_a_point", "break_even_targets",
)  # fmt: skip
SAYS = (
    "Device-hours: wall time times devices. A point: hours above those of no pre-training, the "
    f"pre-training shared by the table's targets, per point of RA. kWh: at {WATTS} W per device, a stated "
    "value, not a measured one. Break-even: from so many targets on, pre-training costs less than "
    f"training without it {LONGER} times as long, whatever that would reach."
)


def answer(question: Question) -> Answer:
    """Weigh the cost of every pre-training against what it changes in RA."""
    table = question.table("2", published=False)
    rows: list[tuple[object, ...]] = []
    by_method = pairs(table)
    for (finetune, pretrain), group in by_method.items():
        used = [(ours, theirs) for ours, theirs in group if "ra" in ours.differences]
        costs = [(ours.cost, theirs.cost) for ours, theirs in used]
        if not used or any(_hours(c) is None for pair in costs for c in pair):
            continue
        ours, none = (float(np.mean([_hours(pair[side]) for pair in costs])) for side in (0, 1))
        networks = [(pair[0].cost, max(1, pair[0].pretrainings)) for pair in used]
        once = max(c.pretrain / n for c, n in networks if c is not None and c.pretrain is not None) / 3600
        mean = over_sets([ours_ for ours_, _ in used], "ra", "differences")
        points = 100 * mean.value
        bounds = [None if v is None else 100 * v for v in (mean.low, mean.high)]
        extra = once / len(used) + ours - none
        a_point = extra / points if points > 0 else None
        kwh = None if a_point is None else a_point * WATTS / 1000
        spare = LONGER * none - ours
        pays = math.ceil(once / spare) if spare > 0 else None
        rows.append((finetune, pretrain, len(used), once, ours, none, points, *bounds, a_point, kwh, pays))
    shown = tuple(
        (
            *(method_text(str(name)) for name in row[:2]),
            str(row[2]),
            *map(_number, row[3:6]),
            f"{row[6]:+.1f}",
            *map(_number, row[9:11]),
            "never" if row[11] is None else str(row[11]),
        )
        for row in rows
    )
    headers = (
        "fine-tuning", "pre-training", "targets", "pre-train h", "target h", "none h", "RA points",
        "h per point", "kWh per point", "break-even",
    )  # fmt: skip
    blocks = (Grid(headers, shown, 2), Paragraph((SAYS,)))
    results = results_of([pair for group in by_method.values() for pair in group])
    title = f"What a point of robust accuracy costs, table {table.spec.name}"
    return Answer(name_of("cost", table), title, blocks, COLUMNS, tuple(rows), results)


def _hours(cost: Cost | None) -> float | None:
    """Return the hours of one target's model, fine-tuned; evaluation is the same with and without."""
    return None if cost is None or cost.finetune is None or cost.pretrain is None else cost.finetune / 3600


def _number(value: object) -> str:
    return "–" if value is None else f"{value:.2g}"
