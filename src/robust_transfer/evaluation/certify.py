"""Randomized-smoothing certificates over a data set: look by look over all images, counts journalled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from robust_transfer.config.evaluation import CertifyConfig
from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.images import TestImages
from robust_transfer.evaluation.protocol import Bench, Rows, evaluators
from robust_transfer.models.fast import fast_inference, weights_hash
from robust_transfer.smoothing.counts import Unit, Votes, iter_votes, plain_votes
from robust_transfer.smoothing.looks import Look
from robust_transfer.smoothing.noise import noise_backend
from robust_transfer.smoothing.sequential import Certificate, Progress, Rules
from robust_transfer.store.journal import Journal

UNIT = 10_000  # samples of one image that a killed run draws again at most
RA_RADIUS = 0.5  # stated in the study
SELECT, ESTIMATE = "select", "estimate"
UNIT_COLUMNS = ("stop", "guess", "count", "nonfinite", "ties", "near_ties")


class Tally:
    """The journalled votes of one image."""

    def __init__(self) -> None:
        self.guess: int | None = None
        self.doubts: tuple[int, ...] = (0, 0, 0)  # non-finite, ties, near ties of the selection
        self._units: dict[tuple[str, int], tuple[int, ...]] = {}  # (purpose, start): see `UNIT_COLUMNS`

    def add(self, row: dict[str, Any]) -> None:
        """Count a row once: a unit that stands twice must be the same draw."""
        unit = tuple(int(row[name]) for name in UNIT_COLUMNS)
        known = self._units.setdefault((row["purpose"], int(row["start"])), unit)
        if known != unit:
            raise EvaluationError(
                f"image {row['index']} has two different counts for samples {row['start']}..{row['stop']}",
                "the journal mixes two runs; delete the directory to compute it again",
            )
        if row["purpose"] == SELECT:
            self.guess, self.doubts = unit[1], unit[3:]

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the units of samples start..stop-1 that are not counted yet."""
        units = [(first, min(first + UNIT, stop)) for first in range(start, stop, UNIT)]
        return [unit for unit in units if self._units.get((ESTIMATE, unit[0]), (0,))[0] != unit[1]]

    def progress(self, rules: Rules, label: int) -> Progress | None:
        """Fold the units into what the rules have seen; None before the selection."""
        if self.guess is None:
            return None
        nonfinite, ties, near_ties = self.doubts
        state = Progress(
            guess=self.guess,
            guess_is_label=self.guess == label,
            nonfinite=nonfinite,
            ties=ties,
            near_ties=near_ties,
        )
        start = 0
        for look in rules.looks:
            if self.missing(start, look.samples):
                break
            units = [self._units[ESTIMATE, first] for first in range(start, look.samples, UNIT)]
            votes, nonfinite, ties, near_ties = (sum(unit[k] for unit in units) for k in (2, 3, 4, 5))
            state = state.after_look(votes, nonfinite=nonfinite, ties=ties, near_ties=near_ties)
            start = look.samples
        return state


class CertifyEvaluator:
    """CERTIFY over a data set (Cohen et al. 2019), in the three modes of `smoothing.sequential.Rules`."""

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
        self.rules = Rules(
            sigma=config.sigma,
            n=config.n,
            alpha=config.alpha,
            mode=config.mode,
            radii=tuple(config.radii),
            tolerance=config.tolerance,
        )

    def header(self, bench: Bench) -> dict[str, Any]:
        """Return the noise sampler and the weights, whose counts are not mixed with others."""
        return {"noise_backend": noise_backend(bench.device), "weights": weights_hash(bench.model)}

    def finished(self, rows: Rows, labels: Sequence[int]) -> set[int]:
        """Return the images whose certificate the journalled counts settle."""
        return {
            index
            for index, tally in _tallies(rows).items()
            if isinstance(self._next(tally, labels[index]), Certificate)
        }

    def _next(self, tally: Tally, label: int) -> Look | Certificate | None:
        progress = tally.progress(self.rules, label)
        return None if progress is None else self.rules.next(progress)

    def measure(self, bench: Bench, images: TestImages, rows: Rows, journal: Journal) -> None:
        """Pick a class for every image, then sample look by look over all images that need it."""
        tallies = _tallies(rows)
        order = images.indices.tolist()
        labels = dict(zip(order, images.labels.tolist(), strict=True))
        known = {index: tallies.get(index, Tally()) for index in order}
        unpicked = [p for p, index in enumerate(order) if known[index].guess is None]
        for unit, votes in self.draw(
            bench, images, [Unit(p, order[p], 0, self.config.n0) for p in unpicked], SELECT
        ):
            self._keep(journal, known[unit.index], unit, SELECT, votes, votes.top)
        waiting = list(enumerate(order))
        while waiting:
            states = [(p, i, self._next(known[i], labels[i])) for p, i in waiting]
            looks = [state.samples for _, _, state in states if isinstance(state, Look)]
            bench.progress.step(len(waiting) - len(looks))
            waiting = [(p, i) for p, i, state in states if isinstance(state, Look)]
            due = [
                Unit(p, i, start, stop)
                for p, i, state in states
                if isinstance(state, Look) and state.samples == min(looks)
                for start, stop in known[i].missing(self._seen(known[i], labels[i]), state.samples)
            ]
            for unit, votes in self.draw(bench, images, due, ESTIMATE):
                guess = known[unit.index].guess
                assert guess is not None
                self._keep(journal, known[unit.index], unit, ESTIMATE, votes, guess)

    def _seen(self, tally: Tally, label: int) -> int:
        """Return the number of samples of the last look."""
        progress = tally.progress(self.rules, label)
        assert progress is not None
        return self.rules.looks[len(progress.counts) - 1].samples if progress.counts else 0

    def draw(
        self, bench: Bench, images: TestImages, units: Sequence[Unit], purpose: str
    ) -> Iterator[tuple[Unit, Votes]]:
        """Draw units and yield each with its votes; at sigma = 0 one vote without noise."""
        if not units:
            return
        config = self.config
        model = fast_inference(bench.model, arithmetic=config.arithmetic, compile=bench.compile)
        if config.sigma == 0:
            chosen = [images[unit.image] for unit in units]
            yield from zip(units, plain_votes(model, chosen, batch_size=config.batch_size), strict=True)
            return
        drawn = iter_votes(
            model,
            images,  # type: ignore[arg-type]
            units,
            sigma=config.sigma,
            seed=config.seed,
            purpose=purpose,  # type: ignore[arg-type]
            batch_size=config.batch_size,
        )
        yield from zip(units, drawn, strict=True)

    def _keep(
        self, journal: Journal, tally: Tally, unit: Unit, purpose: str, votes: Votes, guess: int
    ) -> None:
        if votes.nonfinite and not self.config.allow_nonfinite:
            raise EvaluationError(
                f"finite: {votes.nonfinite} of {unit.stop - unit.start} noisy copies of image {unit.index} "
                "have logits that are not finite",
                "certify.allow_nonfinite=true lets them vote for no class; certify.arithmetic=fp32",
            )
        row = (
            unit.index,
            purpose,
            unit.start,
            unit.stop,
            guess,
            votes.counts[guess] if guess >= 0 else 0,  # -1: no sample voted for any class
            votes.ties,
            votes.near_ties,
            votes.nonfinite,
        )
        journal.append([row])
        tally.add(dict(zip(self.journal_columns, row, strict=True)))

    def records(self, rows: Rows, labels: Sequence[int]) -> list[dict[str, Any]]:
        """Return one record per image, recomputed from the counts."""
        found = []
        for index, tally in sorted(_tallies(rows).items()):
            certificate = self._next(tally, labels[index])
            assert isinstance(certificate, Certificate), f"image {index} is not finished"
            found.append(_record(index, labels[index], certificate))
        return found

    def values(self, records: Sequence[dict[str, Any]]) -> dict[str, list[float] | None]:
        """Return certified accuracy at radius 0 and 0.5, and the radius of the right ones."""
        radii = [r["radius"] * r["correct"] for r in records]
        return {
            "sa": [float(r["correct"]) for r in records],
            "ra": [float(r["correct"] and r["radius"] >= RA_RADIUS) for r in records],
            # radii of mode `decide` are good for yes or no alone
            "acr": None if self.config.mode == "decide" else radii,
        }


def _tallies(rows: Rows) -> dict[int, Tally]:
    tallies: dict[int, Tally] = {}
    for row in rows:
        tallies.setdefault(int(row["index"]), Tally()).add(row)
    return tallies


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


evaluators.register(CertifyConfig)(CertifyEvaluator)
