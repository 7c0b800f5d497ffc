"""Pairs of models of the study on real photographs that differ in one thing, over its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from robust_transfer.report.analysis.estimates import Result, difference, gain
from robust_transfer.report.index.cells import METHODS, Cell
from robust_transfer.report.index.collect import Run
from robust_transfer.report.study import natural
from robust_transfer.report.study.wording import range_text

Results = Mapping[Cell, Result]


@dataclass(frozen=True)
class Comparison:
    """Pairs of results, one per target, and the number of targets expected.

    subject : what differs, as the subject of a sentence
    """

    name: str
    subject: str
    pairs: Sequence[tuple[Result, Result]]
    expected: int

    def changes(self, metric: str) -> list[tuple[Result, Result]]:
        """Return the pairs, the first with its differences to and gains over the second in a metric and SA.

        Pairs without a common seed are left out.
        """
        changed = []
        for ours, theirs in self.pairs:
            names = tuple(dict.fromkeys(("sa", metric)))
            differences = {m: change for m in names if (change := difference(ours, theirs, m)) is not None}
            gains = {m: change for m in names if (change := gain(ours, theirs, m)) is not None}
            if metric in differences:
                changed.append((replace(ours, differences=differences, gains=gains), theirs))
        return changed

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run behind the pairs."""
        return tuple(run for pair in self.pairs for result in pair for run in result.runs)

    @property
    def notices(self) -> tuple[str, ...]:
        """Tags and warnings of every result behind the pairs."""
        return tuple(sorted({n for pair in self.pairs for result in pair for n in result.notices}))

    @property
    def scope(self) -> str:
        """Say what the numbers hold for, and over how many independent units they are estimated."""
        sizes = sorted({str(run.lineage.image_size) for run in self.runs})
        results = [result for pair in self.pairs for result in pair]
        seeds = sorted({result.seeds for result in results})
        counts = sorted({result.pretrainings for result in results if result.pretrainings})
        count = str(used) if (used := len(self.pairs)) == self.expected else f"{used} of {self.expected}"
        sets = len({result.cell.dataset for result in results})
        place = f"on {count} targets of {sets} sets of {'- or '.join(sizes)}-pixel images"
        units = (
            f"pre-trainings: {range_text(counts)}, seeds: {range_text(seeds)}"
            if counts
            else f"seeds: {range_text(seeds)}"
        )
        return f"{place}, {units}"


def pretrainings(results: Results, track: str, pretrain: str, other: str) -> Comparison:
    """Compare two pre-trainings after fine-tuning by `track`."""
    cells = [cell for cell in natural.compared((track,)) if cell.pretrain == track]
    expected = [(replace(cell, pretrain=pretrain), replace(cell, pretrain=other)) for cell in cells]
    names = [METHODS.get(method, method) for method in (track, pretrain, other)]
    pairs = _available(results, expected)
    # What is said of all targets rests on the pre-trainings that they share.
    single = min((ours.pretrainings for ours, _ in pairs), default=0) == 1
    what = f"this {names[1]} pre-trained network" if single else f"{names[1]} pre-training"
    subject = f"With {names[0]} fine-tuning, {what} instead of {names[2]}"
    return Comparison(f"{pretrain}_over_{other}_{track}", subject, pairs, len(expected))


def last_layer(results: Results) -> Comparison:
    """Compare standard tuning of the last layer with robust fine-tuning of the whole, under noise."""
    expected = [(cell, replace(cell, finetune=cell.pretrain)) for cell in natural.last_layer() if cell.sigma]
    subject = "Under noise, standard tuning of a CR model's last layer instead of CR tuning of it all"
    return Comparison("st_linear_over_cr", subject, _available(results, expected), len(expected))


def plain_last_layer(results: Results) -> Comparison:
    """Pair the last layer's models, as plain classifiers without noise, with themselves."""
    cells = [cell for cell in natural.last_layer() if not cell.sigma]
    subject = "Without noise (sigma 0), standard tuning of a CR model's last layer"
    return Comparison("st_linear_sigma0", subject, _available(results, [(c, c) for c in cells]), len(cells))


def _available(results: Results, expected: Sequence[tuple[Cell, Cell]]) -> list[tuple[Result, Result]]:
    return [(results[a], results[b]) for a, b in expected if a in results and b in results]
