"""The class counts in a certification's journal: units of noise samples, put together by image."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robust_transfer.core.errors import EvaluationError
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.smoothing.noise import Purpose
from robust_transfer.smoothing.stopping import Progress, StoppingRule
from robust_transfer.store.journal import journals, read_journal

UNIT = 10_000  # samples of one image that a killed run draws again at most
SELECT: Purpose = "select"
ESTIMATE: Purpose = "estimate"


class UnitCounts(NamedTuple):
    """The journalled counts of one unit, and the class that the image's selection picked."""

    stop: int
    guess: int
    counts: ClassCounts

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> UnitCounts:
        """Read a journal's row; an older version's lacks the cell `counts` and counts the guess alone."""
        ties, near_ties, nonfinite = (int(row[name]) for name in ("ties", "near_ties", "nonfinite"))
        guess = int(row["guess"])
        votes, num_classes = Counter({guess: int(row["count"])}), 0
        if "counts" in row:
            of_guess = votes[guess]
            votes, num_classes = read_cell(row["counts"])
            other_guess = row["purpose"] == SELECT and guess != ClassCounts(votes).top
            if votes[guess] != of_guess or other_guess:
                raise EvaluationError(
                    f"image {row['index']}: guess {guess} and count {of_guess} are not those of its classes"
                )
        return cls(int(row["stop"]), guess, ClassCounts(votes, ties, near_ties, nonfinite, num_classes))

    def impossible(self, samples: int) -> str | None:
        """Say what is impossible about the counts of `samples` samples; None if nothing is."""
        votes, counts = self.counts.votes, self.counts
        if min(*votes.values(), 0, counts.ties, counts.nonfinite) < 0:
            return "a negative count"
        total = votes.total() + counts.ties + counts.nonfinite
        if total != samples if counts.num_classes else total > samples:
            return f"{total} votes, ties and non-finite samples (expected {samples})"
        if not counts.ties <= counts.near_ties <= samples - counts.nonfinite:
            return f"{counts.near_ties} near ties"
        return None


class ImageCounts:
    """The journalled units of one image."""

    def __init__(self) -> None:
        self._units: dict[tuple[str, int], UnitCounts] = {}  # by purpose and first sample

    @property
    def selection(self) -> UnitCounts | None:
        """The unit that picked the guess; None before it was drawn."""
        return self._units.get((SELECT, 0))

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row once: a unit that appears twice must be the same draw."""
        unit = UnitCounts.read(row)
        first = self._units.setdefault((row["purpose"], int(row["start"])), unit)
        if first != unit:
            raise EvaluationError(
                f"image {row['index']} has two different counts for samples {row['start']}..{row['stop']}",
                "the journal mixes two runs; delete the directory to compute it again",
            )

    @property
    def num_classes(self) -> tuple[int, ...]:
        """The numbers of classes that the units state: one, unless the journal was changed."""
        return tuple(sorted({unit.counts.num_classes for unit in self._units.values()}))

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the units of samples start..stop-1 that are not counted yet."""
        units = [(first, min(first + UNIT, stop)) for first in range(start, stop, UNIT)]
        return [(first, last) for first, last in units if not self._counted(first, last)]

    def _counted(self, first: int, last: int) -> bool:
        unit = self._units.get((ESTIMATE, first))
        return unit is not None and unit.stop == last

    def progress(self, rule: StoppingRule, label: int) -> Progress:
        """Fold the units into what the rule decides by."""
        selection = self.selection
        assert selection is not None, "an image begins with its selection"
        progress = Progress(selection.guess, selection.guess == label, selection.counts)
        start = 0
        for analysis in rule.analyses:
            if self.missing(start, analysis.samples):
                break
            units = [self._units[ESTIMATE, first] for first in range(start, analysis.samples, UNIT)]
            progress = progress.add(sum((unit.counts for unit in units), ClassCounts()))
            start = analysis.samples
        return progress

    def check(self, rule: StoppingRule, index: int) -> None:
        """Refuse units that no run writes: other samples, other sums, another guess.

        Raises
        ------
        EvaluationError : the first impossible unit
        """
        for (purpose, start), unit in self._units.items():
            reason = unit.impossible(unit.stop - start if rule.settings.sigma else 1)
            if purpose not in (SELECT, ESTIMATE) or unit.guess != self._units[SELECT, 0].guess:
                reason = "a purpose or a guess of its own"
            if reason:
                raise EvaluationError(f"image {index}: {purpose} samples {start}..{unit.stop} have {reason}")

    def drawn(self) -> dict[tuple[str, int], int]:
        """Return the last sample of every unit, by purpose and first sample."""
        return {name: unit.stop for name, unit in self._units.items()}

    def estimation(self) -> ClassCounts:
        """Add up all units of the estimation."""
        units = [unit for (purpose, _), unit in self._units.items() if purpose == ESTIMATE]
        return sum((unit.counts for unit in units), ClassCounts())


def units_of(rule: StoppingRule, *, samples: int) -> dict[tuple[str, int], int]:
    """Return the last sample of every unit of an image for which `samples` were drawn."""
    units: dict[tuple[str, int], int] = {(SELECT, 0): rule.settings.n0}
    for start, stop in itertools.pairwise([0, *(analysis.samples for analysis in rule.analyses)]):
        if stop <= samples:
            units |= {(ESTIMATE, first): min(first + UNIT, stop) for first in range(start, stop, UNIT)}
    return units


def by_image(rows: Iterable[Mapping[str, Any]]) -> dict[int, ImageCounts]:
    """Put the rows of all journals together."""
    images: dict[int, ImageCounts] = {}
    for row in rows:
        images.setdefault(int(row["index"]), ImageCounts()).add(row)
    return images


def read(stage: Path) -> dict[int, ClassCounts]:
    """Return the votes of every class of each image of a certification, over all samples of its estimation.

    From these follow PREDICT (`smoothing.predict_from`), the runner-up and the top k classes
    (`smoothing.top_k`).

    Parameters
    ----------
    stage : the directory of a certification
    """
    rows = (row for path in journals(stage) for row in read_journal(path)[1])
    return {index: counts.estimation() for index, counts in sorted(by_image(rows).items())}


def write_cell(counts: ClassCounts) -> str:
    """Write the number of classes and the votes of each class that has any: `10;3:412;7:88`."""
    votes = sorted((+counts.votes).items())
    return ";".join([str(counts.num_classes), *(f"{name}:{number}" for name, number in votes)])


def read_cell(cell: str) -> tuple[Counter[int], int]:
    """Return the votes and the number of classes."""
    num_classes, *parts = cell.split(";")
    votes = [part.split(":") for part in parts]
    return Counter({int(name): int(number) for name, number in votes}), int(num_classes)
