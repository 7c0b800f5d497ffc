"""Pairs of models of the miniature study that differ in one thing, over its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from robust_transfer.report.analysis.averages import differences, having
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import METHODS, Cell
from robust_transfer.report.index.collect import Run
from robust_transfer.report.study import mini_study

Known = Mapping[Cell, Result]
GAIN, DIFFERENCE = "gain", "difference"


@dataclass(frozen=True)
class Comparison:
    """Pairs of results, one a target, and the number of targets there should be.

    subject : what differs, as the subject of a sentence
    """

    name: str
    subject: str
    pairs: Sequence[tuple[Result, Result]]
    wanted: int

    def results(self, measure: str, metric: str) -> list[Result]:
        """Return the first of each pair with `gains` that hold relative gains or differences."""
        return having([a if measure == GAIN else differences(a, b) for a, b in self.pairs], metric)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run behind the pairs."""
        return tuple(run for pair in self.pairs for result in pair for run in result.runs)

    @property
    def scope(self) -> str:
        """Say what the numbers hold for."""
        sizes = sorted({str(run.lineage.image_size) for run in self.runs})
        seeds = sorted({result.seeds for pair in self.pairs for result in pair})
        count = str(used) if (used := len(self.pairs)) == self.wanted else f"{used} of {self.wanted}"
        number = "-".join(str(seed) for seed in dict.fromkeys((seeds[0], seeds[-1])))
        return f"on {count} targets of {'- or '.join(sizes)}-pixel images, {number} seeds"


def pretrainings(known: Known, track: str, pretrain: str, other: str) -> Comparison:
    """Compare two pre-trainings after fine-tuning by `track`."""
    cells = [cell for cell in mini_study.compared((track,)) if cell.pretrain == track]
    wanted = [(replace(cell, pretrain=pretrain), replace(cell, pretrain=other)) for cell in cells]
    names = [METHODS.get(method, method) for method in (track, pretrain, other)]
    subject = f"With {names[0]} fine-tuning, {names[1]} pre-training instead of {names[2]}"
    return Comparison(f"{pretrain}_over_{other}_{track}", subject, _known(known, wanted), len(wanted))


def last_layer(known: Known) -> Comparison:
    """Compare standard tuning of the last layer with robust fine-tuning of the whole, under noise."""
    wanted = [(cell, replace(cell, finetune=cell.pretrain)) for cell in mini_study.last_layer() if cell.sigma]
    subject = "Under noise, standard tuning of a CR model's last layer instead of CR tuning of it all"
    return Comparison("st_linear_over_cr", subject, _known(known, wanted), len(wanted))


def plain_last_layer(known: Known) -> Comparison:
    """Pair the last layer's models, as plain classifiers without noise, with themselves."""
    cells = [cell for cell in mini_study.last_layer() if not cell.sigma]
    subject = "Without noise (sigma 0), standard tuning of a CR model's last layer"
    return Comparison("st_linear_sigma0", subject, _known(known, [(c, c) for c in cells]), len(cells))


def _known(known: Known, wanted: Sequence[tuple[Cell, Cell]]) -> list[tuple[Result, Result]]:
    return [(known[a], known[b]) for a, b in wanted if a in known and b in known]
