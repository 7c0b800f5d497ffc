"""Samples that rules of stopping draw until SA and RA at 0.5 are answered, or the radius is near; simulated.

    python scripts/benchmark_samples.py [--images 1000] [--seeds 20] [--json FILE]
    python scripts/benchmark_samples.py --recorded results/methods_mini/stages.tar.xz

The probability of the guessed class is Phi(z), z normal, in three spreads: sure images, in between, hesitant.
With --recorded it is drawn from the posterior (Jeffreys) of the votes that certificates of models counted.
All rules see the same votes of up to n = 100,000 samples, with an interim analysis every 100 or less often;
ours is held against the library's own on some images. Beside n samples for every image stand, built here:

- the betting boundary of Voracek (2024, arXiv 2406.17830): the Krichevsky-Trofimov mixture's confidence
  sequence, which answers a radius as soon as its probability is outside;
- an E-process with a prior of the image's own (Cullen et al. 2026, "Halt Fast", arXiv 2606.27694), against
  the radius's probability from either side. Two stand for their learned predictor: the posterior of the n0
  votes, and one that knows the probability itself.

An answer is lost where n samples certify a radius and the rule does not, gained where it is the other way
about, and false where the class's probability does not allow what was certified.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measured import compared, save
from scipy.special import betaln, ndtr, stdtrit, xlog1py, xlogy

from robust_transfer.core import rng
from robust_transfer.core.binomial import lower_bound
from robust_transfer.smoothing.bounds import (
    certified_radius,
    needed_probability,
    smallest_count,
    unpromising_count,
)
from robust_transfer.smoothing.certification import Certificate, conclude
from robust_transfer.smoothing.counts import ClassCounts
from robust_transfer.smoothing.settings import BLOCK, Settings
from robust_transfer.smoothing.stopping import UNPROMISING, Progress, StoppingRule, interim_analyses

SIGMA, ALPHA, N, N0 = 0.5, 0.001, 100_000, 100
RADII = (0.0, 0.5)
DEVIATIONS = {"z ~ N(1, 5²)": 5.0, "z ~ N(1, 3²)": 3.0, "z ~ N(1, 1.5²)": 1.5}
SIZES = np.arange(BLOCK, N + 1, BLOCK)
NUM_CHECKED = 10
Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """Images (I,): probability of the guess, its n0 votes, and its votes (I, 1000) after 100, 200, ..., n."""

    probability: Array
    selected: Counts
    votes: Counts

    @classmethod
    def of(cls, probability: Array, generator: np.random.Generator) -> Population:
        """Draw all votes of images."""
        selected = generator.binomial(N0, probability)
        votes = generator.binomial(BLOCK, probability[:, None], (len(probability), len(SIZES)))
        return cls(probability, selected, votes.cumsum(1))


Draw = Callable[[int, int], Population]  # of a seed and a number of images


def spread(seed: int, num_images: int, *, deviation: float) -> Population:
    """Draw images from one normal spread."""
    generator = rng.numpy_generator("benchmark_samples", int(10 * deviation), seed=seed)
    return Population.of(ndtr(generator.normal(1.0, deviation, num_images)), generator)


def recorded_spread(seed: int, num_images: int, *, votes: Counts) -> Population:
    """Draw images from those that were certified: (I, 2) votes for the guess, and against it."""
    generator = rng.numpy_generator("benchmark_samples_recorded", seed=seed)
    chosen = votes[generator.integers(len(votes), size=num_images)]
    return Population.of(generator.beta(chosen[:, 0] + 0.5, chosen[:, 1] + 0.5), generator)


def recorded_votes(archive: Path) -> Counts:
    """Read the votes (I, 2) of all images whose guess was right from the certificates of packed results."""
    votes = []
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.name.startswith("eval/certify-") and member.name.endswith("/records.csv"):
                text = io.TextIOWrapper(packed.extractfile(member), encoding="utf-8")
                counts = ((int(row["count_top"]), int(row["num_samples"])) for row in csv.DictReader(text))
                votes += [(top, number - top) for top, number in counts if number]
    return np.array(votes)


@dataclass(frozen=True)
class Answers:
    """Whether each radius was certified, (I, R), and the samples drawn, (I,)."""

    certified: Flags
    samples: Counts


def fixed(images: Population) -> Answers:
    """Look once, after n samples."""
    least = [smallest_count(N, ALPHA, sigma=SIGMA, radius=radius) for radius in RADII]
    return Answers(images.votes[:, -1:] >= np.array(least), np.full(len(images.votes), N))


def decided(images: Population) -> Answers:
    """Run mode `decide`, on all images at once."""
    analyses = interim_analyses("decide", n=N, alpha=ALPHA)
    counts = images.votes[:, [a.samples // BLOCK - 1 for a in analyses]]
    needed = [[smallest_count(a.samples, a.alpha, sigma=SIGMA, radius=r) for r in RADII] for a in analyses]
    certified = np.logical_or.accumulate(counts[..., None] >= np.array(needed), axis=1)
    certified = np.logical_and.accumulate(certified, axis=2)
    # The radius that is open is given up where n samples would hardly certify it; behind the last is none.
    hopeless = [[unpromising_count(a.samples, N, k, UNPROMISING) for k in needed[-1]] for a in analyses[:-1]]
    least = np.array([[*row, N] for row in hopeless] + [[N] * (len(RADII) + 1)])
    last = (counts <= np.take_along_axis(least[None], certified.sum(2)[..., None], 2)[..., 0]).argmax(1)
    found = Answers(
        certified[np.arange(len(last)), last], np.array([a.samples for a in analyses], dtype=np.int64)[last]
    )
    check(images, found)
    return found


def check(images: Population, found: Answers) -> None:
    """Refuse to go on if the library's own rule answers one of a few images otherwise."""
    settings = Settings(SIGMA, N0, N, ALPHA, "decide", radii=RADII[1:])
    for i, c in enumerate(certificates(images.votes[:NUM_CHECKED], settings)):
        answers = [c.prediction == 0 and c.radius >= radius for radius in RADII]
        if c.samples_drawn != found.samples[i] or answers != found.certified[i].tolist():
            raise SystemExit(f"{c} is not what the simulation found: {found.samples[i]} samples")


def certificates(votes: Counts, settings: Settings) -> list[Certificate]:
    """Run the library's rule on the votes of every image."""
    rule, found = StoppingRule(settings), []
    for row in votes:
        progress = Progress(0)
        while analysis := rule.next(progress):
            new = int(row[analysis.samples // BLOCK - 1]) - progress.estimation.votes[0]
            progress = progress.add(ClassCounts(Counter({0: new})))
        found.append(conclude(rule, progress))
    return found


def betting(images: Population) -> Answers:
    """Stop at the betting boundary."""
    low, high = betting_boundaries()
    return stopped(images.votes[..., None] >= high, images.votes[..., None] <= low)


def halt_fast(images: Population) -> Answers:
    """Stop an E-process whose prior is the posterior of the n0 votes, from a uniform one."""
    low, high = posterior_boundaries()
    votes = images.votes[..., None]
    return stopped(votes >= high[images.selected], votes <= low[images.selected])


def all_knowing(images: Population) -> Answers:
    """Stop an E-process that knows the probability: Wald's likelihood ratio."""
    p, k = images.probability[:, None], images.votes
    evidence = [log_likelihood(k, p) - log_likelihood(k, q) for q in probabilities()]
    enough = np.stack(evidence, 2) >= -np.log(ALPHA)
    above = p[..., None] > probabilities()
    return stopped(enough & above, enough & ~above)


def probabilities() -> Array:
    return np.array([needed_probability(radius, SIGMA) for radius in RADII])


def log_likelihood(count: npt.ArrayLike, probability: npt.ArrayLike) -> Array:
    return xlogy(count, probability) + xlog1py(SIZES - count, -probability)


@cache
def betting_boundaries() -> tuple[Counts, Counts]:
    """Return those of the Krichevsky-Trofimov mixture, the same for every image."""
    return boundaries(np.full((1, 1), 0.5), np.full((1, 1), 0.5))


@cache
def posterior_boundaries() -> tuple[Counts, Counts]:
    """Return those after each count of n0 votes."""
    selected = np.arange(N0 + 1.0)[:, None]
    return boundaries(selected + 1, N0 - selected + 1)


def boundaries(a: Array, b: Array) -> tuple[Counts, Counts]:
    """Return counts at or below which, and from which on, each radius is answered: (P, 1000, R) each.

    a, b : (P, 1), of Beta priors. The evidence against a probability q is the mixture of likelihoods over the
        prior, over the likelihood of q: under q a martingale, above 1 / alpha with probability alpha at most
        (Ville). It falls in the count up to a minimum near q, and rises from there.
    """
    low, high = [], []
    for q in probabilities():

        def is_evidence(count: Counts, q: float = float(q)) -> Flags:
            mixture = betaln(count + a, SIZES - count + b) - betaln(a, b)
            return mixture - log_likelihood(count, q) >= -np.log(ALPHA)

        # The count at which evidence is least: there the mixture predicts a vote with probability q.
        least = np.clip(np.floor(q * (SIZES + a + b) - a), 0, SIZES).astype(np.int64)
        ends = np.full_like(least, -1), np.broadcast_to(SIZES + 1, least.shape).copy()
        low.append(bisected(is_evidence, inside=least, outside=ends[0]))
        high.append(bisected(is_evidence, inside=least, outside=ends[1]))
    return np.stack(low, -1), np.stack(high, -1)


def bisected(is_evidence, *, inside: Counts, outside: Counts) -> Counts:
    """Return the count nearest to `inside`, which is no evidence, that is; `outside` where none is."""
    while (np.abs(outside - inside) > 1).any():
        middle = (inside + outside) // 2
        moves = is_evidence(middle) & (np.abs(outside - inside) > 1)
        stays = ~moves & (np.abs(outside - inside) > 1)
        inside, outside = np.where(stays, middle, inside), np.where(moves, middle, outside)
    return outside


def stopped(yes: Flags, no: Flags) -> Answers:
    """Answer each radius at its first crossing, (I, 1000, R) each; draw until both are answered, or to n."""
    first = [np.where(flags.any(1), flags.argmax(1), len(SIZES)) for flags in (yes, no)]
    certified = first[0] < first[1]
    needed = np.minimum(*first).clip(max=len(SIZES) - 1)
    # Who is not certified at all has no radius.
    certified[:, 1] &= certified[:, 0]
    last = np.where(certified[:, 0] | (first[1][:, 0] == len(SIZES)), needed.max(1), needed[:, 0])
    return Answers(certified, SIZES[last])


RULES = {
    "decide": decided,
    "betting boundary (Voracek)": betting,
    "E-process, prior from the n0 votes (Halt Fast)": halt_fast,
    "E-process that knows the probability (Halt Fast at best)": all_knowing,
}


def in_all(what: str, ours: str, peer: str, peer_cost: list[float], our_cost: list[float]) -> dict:
    """Compare samples over all seeds, as few images need most: the ratio of means, with its 95 % interval.

    The median of the seeds would leave out those with many such images.
    """
    theirs, mine = np.array(peer_cost), np.array(our_cost)
    ratio = theirs.mean() / mine.mean()
    error = (
        stdtrit(len(mine) - 1, 0.975) * (theirs - ratio * mine).std(ddof=1) / len(mine) ** 0.5 / mine.mean()
    )
    spread = {"ratio": float(ratio), "low": float(ratio - error), "high": float(ratio + error)}
    return compared(what, ours, peer, peer_cost, our_cost) | spread


def settled(draws: Mapping[str, Draw], num_images: int, seeds: range) -> tuple[list[dict], list[dict]]:
    """Return comparisons and rows of the rules that answer SA and RA."""
    comparisons, rows = [], []
    for name, draw in draws.items():
        what = f"samples for SA and RA at 0.5, {name}"
        samples: dict[str, list[float]] = {rule: [] for rule in RULES}
        counts = {rule: Counter() for rule in RULES}
        for seed in seeds:
            images = draw(seed, num_images)
            exact, allowed = fixed(images), images.probability[:, None] > probabilities()
            for rule, run in RULES.items():
                found = run(images)
                samples[rule].append(float(found.samples.mean()))
                counts[rule] += Counter(
                    lost=int((exact.certified & ~found.certified).sum()),
                    gained=int((found.certified & ~exact.certified).sum()),
                    false=int((found.certified & ~allowed).sum()),
                )
        answers = len(RADII) * num_images * len(seeds)
        texts = {
            rule: f"{rule}: {c['lost']} lost, {c['gained']} gained, {c['false']} false of {answers:,} answers"
            for rule, c in counts.items()
        }
        least = samples.pop("decide")
        everything = [float(N)] * len(least)
        comparisons.append(in_all(what, texts["decide"], f"n = {N:,}", everything, least))
        comparisons += [in_all(what, "decide", texts[rule], some, least) for rule, some in samples.items()]
        rows.append({"spread": name, "samples": {"decide": least, **samples}, "counts": counts})
    return comparisons, rows


def near(draws: Mapping[str, Draw], num_images: int, seeds: range) -> tuple[list[dict], list[dict]]:
    """Return comparisons and rows of mode `adaptive`."""
    comparisons, rows = [], []
    for name, draw in draws.items():
        samples, losses = [], []
        for seed in seeds:
            images = draw(seed, num_images)
            found = certificates(images.votes, Settings(SIGMA, N0, N, ALPHA, "adaptive", radii=RADII[1:]))
            exact = [
                certified_radius(lower_bound(int(count), N, ALPHA), SIGMA) for count in images.votes[:, -1]
            ]
            samples.append(float(np.mean([c.samples_drawn for c in found])))
            losses.append(1 - float(np.mean([c.radius for c in found]) / np.mean(exact)))
        text = f"adaptive, tolerance 0.02: ACR {100 * np.mean(losses):.2f} % smaller"
        what = f"samples for ACR, {name}"
        comparisons.append(in_all(what, text, f"n = {N:,}", [float(N)] * len(samples), samples))
        rows.append({"spread": name, "samples": samples, "loss of ACR": losses})
    return comparisons, rows


def main() -> None:
    """Simulate, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="of a seed and spread")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--recorded", type=Path, help="stages.tar.xz of packed results, for its spread alone")
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    seeds = range(options.seeds)
    draws: dict[str, Draw] = {name: partial(spread, deviation=z) for name, z in DEVIATIONS.items()}
    if options.recorded:
        votes = recorded_votes(options.recorded)
        name = f"votes of {len(votes):,} certificates in {options.recorded.parent.name}"
        draws = {name: partial(recorded_spread, votes=votes)}
    answers, rows = settled(draws, options.images, seeds)
    radii, radii_rows = near(draws, options.images // 8, seeds)
    for row in answers + radii:
        print(f"{row['what']} | {row['ours']} | {row['peer']} | {row['ratio']:.3g} "
              f"[{row['low']:.3g}, {row['high']:.3g}]")  # fmt: skip
    if options.json:
        save(options.json, answers + radii, settled=rows, near=radii_rows)


if __name__ == "__main__":
    main()
