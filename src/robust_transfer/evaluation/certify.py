"""Certificates over a data set: all images at one interim analysis after the other, counts journalled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from robust_transfer.config.evaluators import CertifyConfig
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.class_counts import (
    ESTIMATE,
    SELECT,
    ImageCounts,
    by_image,
    units_of,
    write_cell,
)
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext, Rows
from robust_transfer.evaluation.settings import smoothing_settings
from robust_transfer.evaluation.sharing import draw_together
from robust_transfer.models.fast import weights_hash
from robust_transfer.smoothing.certification import Certificate, conclude
from robust_transfer.smoothing.counts import ClassCounts, Unit
from robust_transfer.smoothing.noise import Purpose, noise_backend
from robust_transfer.smoothing.sampling import iter_votes, plain_votes
from robust_transfer.smoothing.stopping import StoppingRule
from robust_transfer.store.journal import Journal


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
        "counts",
    )
    together = True  # images need from 100 to n samples each, and nobody knows beforehand which do

    def __init__(self, config: CertifyConfig) -> None:
        self.config = config
        self.rule = StoppingRule(smoothing_settings(config))

    def header(self, context: EvalContext) -> dict[str, Any]:
        """Return the noise sampler, the weights and the kernels, whose counts are not mixed with others."""
        return {
            "noise_backend": noise_backend(context.device),
            "weights": weights_hash(context.model),
            "kernels": context.kernels(self.config.arithmetic),
        }

    def finished(self, rows: Rows, labels: Sequence[int]) -> set[int]:
        """Return the images that need no more samples."""
        return {
            index
            for index, counts in by_image(rows).items()
            if counts.selection and self.rule.stopped(counts.progress(self.rule, labels[index]))
        }

    def flags(self, rows: Rows) -> list[str]:
        """Return none: single images get no flags."""
        return []

    def measure(self, context: EvalContext, images: ImageBatch, rows: Rows, journal: Journal) -> None:
        """Pick a class for every image, then sample analysis by analysis over all images that need it."""
        journalled = by_image(rows)
        order = images.indices.tolist()
        labels = dict(zip(order, images.labels.tolist(), strict=True))
        counts = {index: journalled.get(index, ImageCounts()) for index in order}
        unpicked = [p for p, index in enumerate(order) if counts[index].selection is None]
        selections = [Unit(p, order[p], 0, self.config.n0) for p in unpicked]
        for unit, drawn in self._draw_together(context, images, selections, SELECT):
            self._keep(context, journal, counts[unit.index], unit, SELECT, drawn, drawn.top)
        waiting = list(enumerate(order))
        while waiting:
            progress = {index: counts[index].progress(self.rule, labels[index]) for _, index in waiting}
            following = {index: self.rule.next(state) for index, state in progress.items()}
            earliest = min((analysis.samples for analysis in following.values() if analysis), default=0)
            context.progress.step(sum(analysis is None for analysis in following.values()))
            waiting = [(p, index) for p, index in waiting if following[index]]
            units = [
                Unit(p, index, start, stop)
                for p, index in waiting
                for start, stop in counts[index].missing(self.rule.samples_drawn(progress[index]), earliest)
            ]
            for unit, drawn in self._draw_together(context, images, units, ESTIMATE):
                guess = progress[unit.index].guess
                self._keep(context, journal, counts[unit.index], unit, ESTIMATE, drawn, guess)

    def _draw_together(
        self, context: EvalContext, images: ImageBatch, units: Sequence[Unit], purpose: Purpose
    ) -> Iterator[tuple[Unit, ClassCounts]]:
        """Draw units together with the other processes; at sigma = 0 a unit is a single vote."""

        def draw(own: Sequence[Unit]) -> Iterator[tuple[Unit, ClassCounts]]:
            return self.draw(context, images, own, purpose)

        yield from draw_together(draw, units, context.processes, divisible=self.config.sigma > 0)

    def draw(
        self, context: EvalContext, images: ImageBatch, units: Sequence[Unit], purpose: Purpose
    ) -> Iterator[tuple[Unit, ClassCounts]]:
        """Draw units and yield each with its counts; at sigma = 0 one vote without noise."""
        if not units:
            return
        config = self.config
        model = context.fast_model(config.arithmetic)
        if config.sigma == 0:
            chosen = [images[unit.image] for unit in units]
            votes = plain_votes(model, chosen, batch_size=config.batch_size, arithmetic=config.arithmetic)
            yield from zip(units, votes, strict=True)
            return
        drawn = iter_votes(
            model,
            images,
            units,
            sigma=config.sigma,
            seed=config.seed,
            purpose=purpose,
            batch_size=config.batch_size,
            arithmetic=config.arithmetic,
        )
        yield from zip(units, drawn, strict=True)

    def _keep(
        self,
        context: EvalContext,
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
            write_cell(drawn),
        )
        processes = context.processes
        if unit.image % processes.world_size == processes.rank:
            journal.append([row])
        counts.add(dict(zip(self.journal_columns, row, strict=True)))

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image, recomputed from the counts."""
        images = by_image(rows)
        if len(sizes := {counts.num_classes for counts in images.values()}) > 1:
            raise EvaluationError(f"the journals are of models with {sorted(sizes)} classes (expected one)")
        return [
            _record(index, labels[index], self._certificate(index, counts, labels[index]))
            for index, counts in sorted(images.items())
        ]

    def _certificate(self, index: int, counts: ImageCounts, label: int) -> Certificate:
        """Certify an image from its counts, which must be just those that its certificate took."""
        if counts.selection is None:
            raise EvaluationError(f"image {index} has no selection")
        counts.check(self.rule, index)
        progress = counts.progress(self.rule, label)
        if self.rule.stopped(progress) is None:
            raise EvaluationError(f"image {index} is not finished")
        if counts.drawn() != units_of(self.rule, samples=self.rule.samples_drawn(progress)):
            raise EvaluationError(f"image {index} has other samples than its certificate took")
        return conclude(self.rule, progress)


def _record(index: int, label: int, certificate: Certificate) -> dict[str, Any]:
    record = {
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
    if certificate.radius_two_class is not None:  # a journal of an older version has the guess's count alone
        record["radius_two_class"] = certificate.radius_two_class
    return record
