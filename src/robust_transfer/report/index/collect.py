"""The index of a store: every evaluation as a Run, read from status.json and summary.json alone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from robust_transfer.config.evaluator import EvaluatorSpec
from robust_transfer.config.evaluators import evaluator_spec
from robust_transfer.report.index.cells import Cell
from robust_transfer.store import directories
from robust_transfer.store.records import Lineage, Status, Summary

logger = logging.getLogger(__name__)
SMOKE = "smoke"


@dataclass(frozen=True)
class Run:
    """One finished evaluation.

    metrics : fractions in [0, 1]; acr in [0, 1] pixel units, None where there is none
    finished : seconds since 1970, None where it is not known
    fingerprint : hash of the test set's list of images and labels, None of an older run
    """

    path: Path
    key: str
    evaluator: str
    dataset: str
    summary: Summary = field(repr=False, compare=False)
    finished: float | None = field(default=None, repr=False, compare=False)
    fingerprint: str | None = field(default=None, repr=False, compare=False)

    @property
    def spec(self) -> EvaluatorSpec:
        """The evaluator's spec."""
        return evaluator_spec(self.evaluator)

    @property
    def settings_line(self) -> str:
        """How the run's numbers were measured."""
        return self.spec.settings_line(self.settings)

    @property
    def statements(self) -> tuple[tuple[str, str], ...]:
        """What the metrics imply with a confidence of their own."""
        return self.spec.statements(self.settings, self.metrics, self.num_images)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The evaluator's settings."""
        return self.summary.settings

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """The measured numbers."""
        return self.summary.metrics

    @property
    def intervals(self) -> Mapping[str, Mapping[str, Any]]:
        """95 % intervals of the metrics."""
        return self.summary.intervals

    @property
    def lineage(self) -> Lineage:
        """How the model came about."""
        return self.summary.lineage

    @property
    def marks(self) -> tuple[str, ...]:
        """Tags that a reader of a table must know."""
        return self.summary.marks

    @property
    def notices(self) -> tuple[str, ...]:
        """Tags and warnings: what a reader of any number of the run must know."""
        return tuple(dict.fromkeys((*self.summary.marks, *self.summary.flags)))

    @property
    def num_images(self) -> int:
        """Number of test images."""
        return self.summary.num_images

    @property
    def commit(self) -> str:
        """The commit of the code that ran."""
        return self.summary.commit or "unknown"

    @property
    def cell(self) -> Cell:
        """The cell of a table that the run belongs to."""
        sigma = self.spec.noise_sigma(self.settings)
        lineage = self.lineage
        return Cell(
            self.dataset,
            lineage.pretrain or "unknown",
            lineage.finetune or "unknown",
            self.evaluator,
            sigma,
            lineage.shots,
        )

    @property
    def seeds(self) -> dict[str, int | None]:
        """Every seed behind the run's numbers, by what it varies."""
        lineage = self.lineage
        return {
            "pre-training": lineage.pretrain_seed,
            "fine-tuning": lineage.seed,
            "labels drawn": lineage.split_seed,
            "evaluation": self.settings.get("seed"),
        }


@dataclass(frozen=True)
class Index:
    """What a store holds.

    runs : finished evaluations that reports may use, sorted by directory
    smoke : finished evaluations of smoke runs, which no report uses
    unfinished : evaluations begun and not done, or changed since
    changed : finished evaluations whose records or summary were changed since, which no report uses
    """

    root: Path
    runs: tuple[Run, ...]
    smoke: tuple[Run, ...]
    unfinished: tuple[directories.StageDirectory, ...]
    changed: tuple[Run, ...] = ()

    @cached_property
    def training(self) -> dict[str, directories.StageDirectory]:
        """Training stages by their 12-digit key."""
        return {s.key: s for s in directories.scan(self.root) if s.kind != "eval"}

    @cached_property
    def by_cell(self) -> dict[Cell, list[Run]]:
        """Runs of each cell."""
        cells: dict[Cell, list[Run]] = {}
        for run in self.runs:
            cells.setdefault(run.cell, []).append(run)
        return cells

    def status(self, key: str | None) -> Status:
        """Return the status of a training stage; an empty one where it is not in this store."""
        stage = self.training.get(key or "")
        return stage.status() if stage else Status()


def collect(root: Path | str) -> Index:
    """Index a store; a directory without a readable summary counts as unfinished."""
    runs: list[Run] = []
    smoke: list[Run] = []
    unfinished: list[directories.StageDirectory] = []
    altered: list[Run] = []
    for stage in directories.scan(root):
        if stage.kind != "eval":
            continue
        summary, status = stage.summary(), stage.status()
        if summary is None or status.state != directories.DONE:
            unfinished.append(stage)
            continue
        run = Run(
            stage.path,
            stage.key,
            summary.evaluator,
            summary.dataset,
            summary,
            status.finished,
            status.fingerprint,
        )
        if names := stage.changed(status):
            logger.warning(
                "%s is left out: %s changed after it was finished (rt-report verify %s says how; the command "
                "that made it builds it again from its journals)",
                stage.path.name,
                " and ".join(names),
                stage.key,
            )
            unfinished.append(stage)
            altered.append(run)
            continue
        (smoke if SMOKE in run.marks else runs).append(run)
    return Index(Path(root), tuple(runs), tuple(smoke), tuple(unfinished), tuple(altered))


def commits(runs: Iterable[Run]) -> list[str]:
    """Return the commits that runs came from, the most frequent first."""
    counts = Counter(run.commit for run in runs)
    return sorted(counts, key=lambda commit: (-counts[commit], commit))
