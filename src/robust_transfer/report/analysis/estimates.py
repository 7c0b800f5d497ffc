"""Numbers of a table's cells with their uncertainty: replicates, images, differences, gains, cost.

One model has the evaluation's own interval (exact for accuracies). Several have that of their mean over
replicates and images (`crossed`). Cells of one data set are measured on the same images, and models with the
same seeds saw the same few labels: differences and gains pair both, by coordinates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.samples import Sample, combined, paired, samples
from robust_transfer.report.index import published
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.coordinates import Place, grid_of, place_of
from robust_transfer.report.index.costs import Cost, cost_of
from robust_transfer.report.index.environments import environments
from robust_transfer.report.index.protocols import Choice
from robust_transfer.report.index.records import per_image


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, the p-value of its being 0, and its deviation over models.

    sample : values whose mean is the number; None for published numbers
    """

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""
    p: float | None = None
    deviation: float | None = None
    sample: Sample | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Result:
    """A filled cell.

    estimates : by metric; sa and ra as fractions
    differences, gains : by metric, to no pre-training on the same images and seeds; gains relative, as
        fractions, and only where the metric without pre-training is significantly above 0
    pretrainings, seeds : independent pre-trainings (0: none), and replicates of what follows each
    images : (2, N) positions and labels of the test images, which all runs share
    tags : how the runs were combined, where a reader must know
    """

    cell: Cell
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    num_images: int | None = None
    pretrainings: int = 0
    seeds: int = 0
    runs: tuple[Run, ...] = ()
    images: npt.NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    cost: Cost | None = None
    tags: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """Tags of the result, and tags and warnings of any of its runs."""
        own = (notice for run in self.runs for notice in run.notices)
        return tuple(sorted({*self.tags, *own}))

    @property
    def varies(self) -> tuple[str, ...]:
        """Which seeds differ between the runs."""
        names = self.runs[0].seeds if self.runs else {}
        return tuple(name for name in names if len({run.seeds[name] for run in self.runs}) > 1)


def from_published(cells: Sequence[Cell]) -> dict[Cell, Result]:
    """Return the published values of cells, with differences and gains and without intervals."""
    cells_published = published.all_cells()
    results = {}
    for cell in cells:
        ours = cells_published[cell]
        reference = (cells_published.get(cell.reference) or {}) if cell.pretrain != "none" else {}
        results[cell] = Result(
            cell,
            {metric: Estimate(value) for metric, value in ours.items()},
            {m: Estimate(ours[m] - value) for m, value in reference.items()},
            {m: Estimate(ours[m] / value - 1) for m, value in reference.items() if value > 0},
        )
    return results


def from_runs(index: Index, choice: Choice) -> dict[Cell, Result]:
    """Return the results of the chosen runs."""
    measured = {cell: _measured(index, cell, runs) for cell, runs in choice.runs.items()}
    return {
        cell: _against(result, measured[cell.reference])
        if cell.pretrain != "none" and cell.reference in measured
        else result
        for cell, result in measured.items()
    }


def _measured(index: Index, cell: Cell, runs: tuple[Run, ...]) -> Result:
    grid = grid_of(map(place_of, runs))
    kept = tuple(run for run in runs if place_of(run) in grid)
    left_out = len(runs) - len(kept)
    tags = [f"unbalanced: {left_out} of {len(runs)} runs left out"] if left_out else []
    made_with = sorted(environments(kept))
    tags += (
        [f"seeds ran on different versions or hardware: {'; '.join(made_with)}"] if len(made_with) > 1 else []
    )
    if len(_lists(kept)) > 1:
        tags.append(f"seeds read different lists of test images: {', '.join(_lists(kept))}")
    return Result(
        cell,
        {metric: _estimate(metric, sample, kept) for metric, sample in samples(kept).items()},
        num_images=runs[0].num_images,
        pretrainings=0 if cell.pretrain == "none" else len(grid.pretrainings),
        seeds=len(grid.replicates),
        runs=kept,
        images=per_image(kept[0])[0],
        cost=cost_of(index, kept),
        tags=tuple(tags),
    )


def _against(result: Result, reference: Result) -> Result:
    """Add differences and gains, and tag what they leave out."""
    differences = {m: difference(result, reference, m) for m in result.estimates}
    gains = {m: gain(result, reference, m) for m in result.estimates}
    tags = list(result.tags)
    pairs = [d.sample for d in differences.values() if d is not None and d.sample is not None]
    most = max(_seeds(place_of(run) for run in one.runs) for one in (result, reference))
    if not _same_images(result, reference):
        tags.append("models without pre-training were measured on other images")
    elif not pairs:
        tags.append("no seed in common with the models without pre-training")
    elif (shared := _seeds(pairs[0].at)) < most:
        tags.append(f"compared on {shared} of {most} seeds, those in common")
    ours, theirs = (sorted(environments(one.runs)) for one in (result, reference))
    if ours != theirs:
        tags.append(f"without pre-training ran on different versions or hardware: {'; '.join(theirs)}")
    ours, theirs = _lists(result.runs), _lists(reference.runs)
    if ours and theirs and ours != theirs:
        tags.append(f"without pre-training read a different list of test images: {', '.join(theirs)}")
    return replace(
        result,
        differences={m: d for m, d in differences.items() if d is not None},
        gains={m: g for m, g in gains.items() if g is not None},
        tags=tuple(tags),
    )


def _lists(runs: Iterable[Run]) -> list[str]:
    """Return the first digits of the fingerprints of the test sets that runs read."""
    return sorted({run.fingerprint[:12] for run in runs if run.fingerprint})


def _same_images(first: Result, second: Result) -> bool:
    """Tell whether two results are of the same places of the test set, with the same labels."""
    if first.images is None or second.images is None:
        return False
    return np.array_equal(first.images, second.images)


def _seeds(places: Iterable[Place]) -> int:
    return len({replicate for _, replicate in places})


def _estimate(metric: str, sample: Sample, runs: Sequence[Run]) -> Estimate:
    value = float(sample.values.mean())
    stated = runs[0].intervals.get(metric)
    if len(runs) == 1 and stated:
        bounds = (stated.get("low"), stated.get("high"), str(stated.get("method", "")))
        return Estimate(value, *bounds, sample=sample)
    means = sample.values.mean(axis=2)
    deviation = float(means.std(ddof=1)) if means.size > 1 else None
    # Radii have no upper end that a count of images could stand for.
    interval = crossed.mean(sample.values) if metric == "acr" else crossed.proportion(sample.values)
    return Estimate(value, max(0.0, interval.low), interval.high, interval.method, None, deviation, sample)


def difference(first: Result, second: Result, metric: str) -> Estimate | None:
    """Return `first` minus `second` in a metric's own unit, None where they share no seeds or no images."""
    pair = paired_samples(first, second, metric)
    if pair is None:
        return None
    sample = combined(np.subtract, *pair)
    mean = crossed.mean(sample.values)
    # No two accuracies differ by more than 1, which an interval from few models does not know.
    low, high = (mean.low, mean.high) if metric == "acr" else (max(-1.0, mean.low), min(1.0, mean.high))
    return Estimate(mean.value, low, high, mean.method, mean.p, None, sample)


def gain(first: Result, second: Result, metric: str) -> Estimate | None:
    """Return `first` / `second` - 1; None also where `second` is not significantly above 0.

    The sample's mean is the gain, and its spread that of the gain for small deviations.
    """
    pair = paired_samples(first, second, metric)
    ratio = crossed.ratio(pair[0].values, pair[1].values) if pair else None
    if pair is None or ratio is None:
        return None
    base = pair[1].values.mean()
    value = ratio.value
    sample = combined(lambda ours, theirs: value + (ours - (1 + value) * theirs) / base, *pair)
    return Estimate(ratio.value, max(-1.0, ratio.low), ratio.high, ratio.method, ratio.p, None, sample)


def paired_samples(first: Result, second: Result, metric: str) -> tuple[Sample, Sample] | None:
    """Return the values of two results in a metric on what they share, None where they share nothing."""
    estimates = [result.estimates.get(metric) for result in (first, second)]
    ours, theirs = (estimate.sample if estimate else None for estimate in estimates)
    if ours is None or theirs is None or not _same_images(first, second):
        return None
    return paired(ours, theirs)
