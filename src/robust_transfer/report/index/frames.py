"""A store as pandas frames, for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.config.evaluator import METRICS
from robust_transfer.report.index.collect import Index, Run, collect
from robust_transfer.report.index.records import read_table

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Frames:
    """The finished evaluations of a store; smoke runs are left out."""

    index: Index

    @cached_property
    def runs(self) -> pandas.DataFrame:
        """One row per evaluation, by its key.

        What was evaluated (evaluator, dataset, shots, pretrain, finetune, sigma), the seed of each thing that
        was drawn, num_images, the metrics (sa and ra as fractions, acr in pixels L2) each with `_low` and
        `_high` over images, marks, flags, commit and path.
        """
        import pandas

        frame = pandas.DataFrame([run_row(run) for run in self.index.runs])
        return frame.set_index("key") if len(frame) else frame

    @cached_property
    def records(self) -> pandas.DataFrame:
        """One row per evaluation and test image, by (key, index): the columns of all evaluators' records.csv.

        Raises
        ------
        EvaluationError : a records file is missing or not whole
        """
        import pandas

        tables = {run.key: read_table(run.path / "records.csv").set_index("index") for run in self.index.runs}
        if not tables:
            return pandas.DataFrame()
        return pandas.concat(tables, names=["key"])


def load(store: Path | str) -> Frames:
    """Read a store: `load("runs").runs`, `load("runs").records`."""
    return Frames(collect(store))


def run_row(run: Run) -> dict[str, Any]:
    """Return an evaluation's values, by column."""
    cell, seeds = run.cell, run.seeds
    row: dict[str, Any] = {
        "key": run.key,
        "evaluator": run.evaluator,
        "dataset": run.dataset,
        "shots": cell.shots,
        "pretrain": cell.pretrain,
        "finetune": cell.finetune,
        "sigma": cell.sigma,
        **{f"{name.replace(' ', '_').replace('-', '')}_seed": seed for name, seed in seeds.items()},
        "num_images": run.num_images,
    }
    for metric in METRICS:
        stated = run.intervals.get(metric) or {}
        row |= {
            metric: run.metrics.get(metric),
            f"{metric}_low": stated.get("low"),
            f"{metric}_high": stated.get("high"),
        }
    return {**row, "marks": run.marks, "flags": run.summary.flags, "commit": run.commit, "path": run.path}
