"""Certificates over a data set: all images at one interim analysis after the other, counts journalled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from robust_transfer.config.evaluation import CertifyConfig
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext, Rows
from robust_transfer.evaluation.settings import smoothing_settings
from robust_transfer.models.fast import fast_inference, weights_hash
from robust_transfer.smoothing.certification import Certificate, conclude
from robust_transfer.smoothing.counts import ClassCounts, Unit
from robust_transfer.smoothing.noise import Purpose, noise_backend
from robust_transfer.smoothing.sampling import iter_votes, plain_votes
from robust_transfer.smoothing.stopping import Progress, StoppingRule
from robust_transfer.store.journal import Journal

UNIT = 10_000  # samples of one image that a killed run draws again at most
UNIT_COLUMNS = ("stop", "guess", "count", "nonfinite", "ties", "near_ties")  # as in `UnitCounts`
SELECT: Purpose = "select"
ESTIMATE: Purpose = "estimate"


class UnitCounts(NamedTuple):
    """What a journal says of the samples of one unit; `votes` are those for `guess`."""

    stop: int
    guess: int
    votes: int
    nonfinite: int
    ties: int
    near_ties: int

    @property
    def class_counts(self) -> ClassCounts:
        """The same as counts of the guess alone."""
        return ClassCounts(Counter({self.guess: self.votes}), self.ties, self.near_ties, self.nonfinite)


class ImageCounts:
    """The journalled units of one image."""

    def __init__(self) -> None:
        self._units: dict[tuple[str, int], UnitCounts] = {}  # by purpose and first sample

    @property
    def selection(self) -> UnitCounts | None:
        """The unit that picked the guess; None before it was drawn."""
        return self._units.get((SELECT, 0))

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row once: a unit that stands twice must be the same draw."""
        unit = UnitCounts(*(int(row[name]) for name in UNIT_COLUMNS))
        first = self._units.setdefault((row["purpose"], int(row["start"])), unit)
        if first != unit:
            raise EvaluationError(
                f"image {row['index']} has two different counts for samples {row['start']}..{row['stop']}",
                "the journal mixes two runs; delete the directory to compute it again",
            )

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
        progress = Progress(selection.guess, selection.guess == label, selection.class_counts)
        start = 0
        for analysis in rule.analyses:
            if self.missing(start, analysis.samples):
                break
            units = [self._units[ESTIMATE, first] for first in range(start, analysis.samples, UNIT)]
            progress = progress.add(sum((unit.class_counts for unit in units), ClassCounts()))
            start = analysis.samples
        return progress


class CertifyEvaluator:
    """CERTIFY over a data set (Cohen et al. 2019), in the modes of `smoothing.stopping.StoppingRule`."""

    journal_columns = (
        "index",
        "purpose",
        "start",
        "stop",
        "guess",
        "count",
        "ties",
        "near_ties",
        "nonfinite",
    )

    def __init__(self, config: CertifyConfig) -> None:
        self.config = config
        self.rule = StoppingRule(smoothing_settings(config))

    def header(self, context: EvalContext) -> dict[str, Any]:
        """Return the noise sampler and the weights, whose counts are not mixed with others."""
        return {"noise_backend": noise_backend(context.device), "weights": weights_hash(context.model)}

    def finished(self, rows: Rows, labels: Sequence[int]) -> set[int]:
        """Return the images that need no more samples."""
        return {
            index
            for index, counts in _image_counts(rows).items()
            if counts.selection and self.rule.stopped(counts.progress(self.rule, labels[index]))
        }

    def measure(self, context: EvalContext, images: ImageBatch, rows: Rows, journal: Journal) -> None:
        """Pick a class for every image, then sample analysis by analysis over all images that need it."""
        journalled = _image_counts(rows)
        order = images.indices.tolist()
        labels = dict(zip(order, images.labels.tolist(), strict=True))
        counts = {index: journalled.get(index, ImageCounts()) for index in order}
        unpicked = [p for p, index in enumerate(order) if counts[index].selection is None]
        for unit, drawn in self.draw(
            context, images, [Unit(p, order[p], 0, self.config.n0) for p in unpicked], SELECT
        ):
            self._keep(journal, counts[unit.index], unit, SELECT, drawn, drawn.top)
        waiting = list(enumerate(order))
        while waiting:
            progress = {index: counts[index].progress(self.rule, labels[index]) for _, index in waiting}
            due = {index: self.rule.next(some) for index, some in progress.items()}
            earliest = min((analysis.samples for analysis in due.values() if analysis), default=0)
            context.progress.step(sum(analysis is None for analysis in due.values()))
            waiting = [(p, index) for p, index in waiting if due[index]]
            units = [
                Unit(p, index, start, stop)
                for p, index in waiting
                for start, stop in counts[index].missing(self.rule.samples_drawn(progress[index]), earliest)
            ]
            for unit, drawn in self.draw(context, images, units, ESTIMATE):
                self._keep(journal, counts[unit.index], unit, ESTIMATE, drawn, progress[unit.index].guess)

    def draw(
        self, context: EvalContext, images: ImageBatch, units: Sequence[Unit], purpose: Purpose
    ) -> Iterator[tuple[Unit, ClassCounts]]:
        """Draw units and yield each with its counts; at sigma = 0 one vote without noise."""
        if not units:
            return
        config = self.config
        model = fast_inference(context.model, arithmetic=config.arithmetic, compile=context.compile)
        if config.sigma == 0:
            chosen = [images[unit.image] for unit in units]
            yield from zip(units, plain_votes(model, chosen, batch_size=config.batch_size), strict=True)
            return
        drawn = iter_votes(
            model,
            images,
            units,
            sigma=config.sigma,
            seed=config.seed,
            purpose=purpose,
            batch_size=config.batch_size,
        )
        yield from zip(units, drawn, strict=True)

    def _keep(
        self,
        journal: Journal,
        counts: ImageCounts,
        unit: Unit,
        purpose: Purpose,
        drawn: ClassCounts,
        guess: int,
    ) -> None:
        if drawn.nonfinite and not self.config.allow_nonfinite:
            raise EvaluationError(
                f"finite: {drawn.nonfinite} of {unit.stop - unit.start} noisy copies of image {unit.index} "
                "have logits that are not finite",
                "certify.allow_nonfinite=true lets them vote for no class; certify.arithmetic=fp32",
            )
        row = (
            unit.index,
            purpose,
            unit.start,
            unit.stop,
            guess,
            drawn.votes[guess],
            drawn.ties,
            drawn.near_ties,
            drawn.nonfinite,
        )
        journal.append([row])
        counts.add(dict(zip(self.journal_columns, row, strict=True)))

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image, recomputed from the counts."""
        return [
            _record(index, labels[index], conclude(self.rule, counts.progress(self.rule, labels[index])))
            for index, counts in sorted(_image_counts(rows).items())
        ]


def _image_counts(rows: Rows) -> dict[int, ImageCounts]:
    images: dict[int, ImageCounts] = {}
    for row in rows:
        images.setdefault(int(row["index"]), ImageCounts()).add(row)
    return images


def _record(index: int, label: int, certificate: Certificate) -> dict[str, Any]:
    return {
        "index": index,
        "label": label,
        "guess": certificate.guess,
        "prediction": certificate.prediction,
        "correct": certificate.prediction == label,
        "radius": certificate.radius,
        "count_top": certificate.count_top,
        "num_samples": certificate.num_samples,
        "samples_drawn": certificate.samples_drawn,
        "p_lower": certificate.p_lower,
        "alpha_spent": certificate.alpha_spent,
        "stopped": certificate.stopped,
        "nonfinite": certificate.nonfinite,
        "near_ties": certificate.near_ties,
    }
