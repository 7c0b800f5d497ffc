"""Linear probes beside their published accuracy, as a table and as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from robust_transfer.report.index.environments import ORIGIN, origin_of
from robust_transfer.report.output.formats import comma_separated
from robust_transfer.report.study.blocks import Grid
from robust_transfer.report.study.probes import SOURCE, Probe
from robust_transfer.report.study.wording import interval_text, percent

COLUMNS = ("pretrain", "epochs", "batch_size", "published", "ours", "low", "high", "difference")


def probes_grid(probes: Sequence[Probe]) -> Grid:
    """Return the probes as a grid; the recipes stand beside them, as the published value holds for one."""
    rows = tuple(
        (
            str(probe.run.lineage.pretrain),
            *(str(value or "unknown") for value in probe.recipe),
            percent(probe.published),
            percent(probe.ours),
            interval_text("sa", probe.low, probe.high),
            percent(probe.ours - probe.published, signed=True),
        )
        for probe in probes
    )
    headers = ("pretrain", "epochs", "batch", "published", "ours", "95 %", "difference")
    return Grid(headers, rows, 1, f"Linear probe on {SOURCE}, top-1 in %")


def probes_csv(probes: Sequence[Probe]) -> str:
    """Write the probes in full precision, in %."""
    rows = []
    for probe in probes:
        difference = probe.ours - probe.published
        numbers = (probe.published, probe.ours, probe.low, probe.high, difference)
        scaled = (None if number is None else 100 * number for number in numbers)
        place = (probe.run.lineage.pretrain, *probe.recipe)
        rows.append([*place, *scaled, *origin_of((probe.run,))])
    return comma_separated((*COLUMNS, *ORIGIN), rows)
