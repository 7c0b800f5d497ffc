"""Numbers of a table's cells with their uncertainty: seeds, images, gains, cost.

S seeds, N images, R bootstrap resamples.

With one seed the interval is the evaluation's own (exact for accuracies). With several, images and seeds are
both resampled. Cells of one data set are measured on the same images, and cells with the same seeds on models
that saw the same few labels: they share the draws, so that the interval of a gain or a difference is a paired
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from robust_transfer.core import draws, statistics
from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.costs import Cost, cost_of
from robust_transfer.report.index.protocols import Choice
from robust_transfer.report.index.records import per_image

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval and its deviation over seeds.

    samples : (R,) bootstrap resamples behind the interval; None for published numbers
    """

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""
    deviation: float | None = None
    samples: Array | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Result:
    """A filled cell.

    estimates : by metric; sa and ra as fractions
    gains : by metric, relative to no pre-training, as fractions
    seeds : number of runs that differ by seeds alone
    """

    cell: Cell
    estimates: Mapping[str, Estimate]
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    num_images: int | None = None
    seeds: int = 0
    runs: tuple[Run, ...] = ()
    cost: Cost | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """Marks of any of the runs."""
        return tuple(sorted({mark for run in self.runs for mark in run.marks}))

    @property
    def varies(self) -> tuple[str, ...]:
        """Which seeds differ between the runs."""
        names = self.runs[0].seeds if self.runs else {}
        return tuple(name for name in names if len({run.seeds[name] for run in self.runs}) > 1)


def from_published(cells: Sequence[Cell]) -> dict[Cell, Result]:
    """Return the published values of cells, with gains and without intervals."""
    known = published.all_cells()
    found = {}
    for cell in cells:
        estimates = {metric: Estimate(value) for metric, value in known[cell].items()}
        reference = known.get(cell.reference) if cell.pretrain != "none" else None
        gains = {} if reference is None else _gains(known[cell], reference)
        found[cell] = Result(cell, estimates, {metric: Estimate(value) for metric, value in gains.items()})
    return found


def from_runs(index: Index, choice: Choice) -> dict[Cell, Result]:
    """Return the results of the chosen runs."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in choice.runs:
        groups.setdefault(cell.group, []).append(cell)
    found: dict[Cell, Result] = {}
    for cells in groups.values():
        measured = {cell: _estimates(choice.runs[cell]) for cell in cells}
        for cell in cells:
            reference = measured.get(cell.reference) if cell.pretrain != "none" else None
            runs = choice.runs[cell]
            found[cell] = Result(
                cell,
                measured[cell],
                {} if reference is None else gain_estimates(measured[cell], reference),
                runs[0].num_images,
                len(runs),
                runs,
                cost_of(index, runs),
            )
    return found


def _gains(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    return {m: values[m] / reference[m] - 1 for m in values if reference.get(m, 0) > 0}


def gain_estimates(found: Mapping[str, Estimate], reference: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return relative gains over `reference` on the same images, with paired bootstrap intervals."""
    values = {m: e.value for m, e in found.items()}
    gains = _gains(values, {m: e.value for m, e in reference.items()})
    estimates = {}
    for metric, gain in gains.items():
        ours, theirs = found[metric].samples, reference[metric].samples
        assert ours is not None and theirs is not None
        # A resample without a right image has no gain relative to it: NaN, which intervals leave out.
        samples = np.full_like(ours, np.nan)
        np.divide(ours, theirs, out=samples, where=theirs > 0)
        samples -= 1
        low, high = statistics.percentiles(samples)
        estimates[metric] = Estimate(gain, low, high, "paired bootstrap", None, samples)
    return estimates


def _estimates(runs: Sequence[Run]) -> dict[str, Estimate]:
    values = image_values(runs)
    stacked = np.concatenate([values[metric].T for metric in values], axis=1)  # (N, metrics x S)
    samples = resample(stacked, runs)
    found = {}
    for position, (metric, per_seed) in enumerate(values.items()):
        means = per_seed.mean(axis=1)
        if len(runs) == 1:
            stated = runs[0].intervals.get(metric) or {}
            low, high, method = stated.get("low"), stated.get("high"), stated.get("method", "")
            deviation = None
        else:
            low, high = statistics.percentiles(samples[:, position])
            method, deviation = "bootstrap over seeds and images", float(means.std(ddof=1))
        value = float(means.mean())
        found[metric] = Estimate(value, low, high, method, deviation, samples[:, position])
    return found


def image_values(runs: Sequence[Run]) -> dict[str, Array]:
    """Return {metric: (S, N) value of each image under each run}; all runs hold the same images.

    Raises
    ------
    EvaluationError : runs of one cell have different images
    """
    found = [per_image(run) for run in runs]
    first = found[0][0]
    for run, (index, _) in zip(runs, found, strict=True):
        if not np.array_equal(index, first):
            raise EvaluationError(
                f"{run.path} has other images than {runs[0].path}", f"rt-report verify {run.key}"
            )
    return {metric: np.stack([values[metric] for _, values in found]) for metric in found[0][1]}


def resample(values: Array, runs: Sequence[Run]) -> Array:
    """Bootstrap metric means over images and seeds.

    Parameters
    ----------
    values : (N, M x S), the S runs of a metric side by side
    runs : their data set keys the draws of images, their seeds as well those of seeds

    Returns
    -------
    (R, M)
    """
    n, seeds, dataset = len(values), len(runs), runs[0].dataset
    blocks = statistics.index_resamples(n, draws.generator(f"images/{dataset}", n))
    # Counting how often an image was drawn and multiplying is faster than gathering its values.
    means = np.concatenate([_counts(rows, n) @ values for rows in blocks]) / n
    means = means.reshape(len(means), -1, seeds)
    names = "/".join(str(run.seeds["fine-tuning"]) for run in runs)
    generator = draws.generator(f"seeds/{dataset}/{names}", seeds)
    weights = generator.multinomial(seeds, [1 / seeds] * seeds, size=len(means)) / seeds
    chosen: Array = np.einsum("rms,rs->rm", means, weights)
    return chosen


def _counts(rows: npt.NDArray[np.int64], n: int) -> Array:
    offset = rows + n * np.arange(len(rows))[:, None]
    return np.bincount(offset.ravel(), minlength=n * len(rows)).reshape(len(rows), n).astype(np.float64)
