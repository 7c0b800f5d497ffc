"""Means over sets whose targets have different numbers of models."""

import numpy as np
import pytest

from robust_transfer.report.analysis.averages import over_sets
from robust_transfer.report.analysis.estimates import Estimate, Result
from robust_transfer.report.analysis.samples import Sample
from robust_transfer.report.index.cells import Cell

IMAGES = 60


def target(dataset, seeds, *, shots=5, level=0.0):
    """A result whose differences grow with the seed, so that every part of the seeds has another mean."""
    draws = np.random.default_rng((ord(dataset), shots))
    sample = Sample({(s, (s, s)): level + s + draws.normal(0, 0.1, IMAGES) for s in seeds})
    change = Estimate(float(np.mean(list(sample.at.values()))), sample=sample)
    return Result(Cell(dataset, "at", "at", "autopgd", None, shots), {}, differences={"ra": change})


def mean_at(results, seeds):
    by_set = {}
    for result in results:
        at = result.differences["ra"].sample.at
        by_set.setdefault(result.cell.dataset, []).append(np.mean([at[s, (s, s)] for s in seeds]))
    return {name: np.mean(values) for name, values in by_set.items()}


@pytest.mark.parametrize("fewer", [(0,), (0, 1), (1, 3), (0, 1, 2)])
def test_number_sets_and_interval_are_of_the_models_that_all_targets_share(fewer):
    results = [target("a", range(4)), target("b", range(4), level=2.0), target("a", fewer, shots=20)]
    mean, expected = over_sets(results, "ra", "differences"), mean_at(results, fewer)
    assert dict(mean.sets) == pytest.approx(expected)
    assert mean.value == pytest.approx(np.mean(list(expected.values())))
    for low, high in ((mean.low, mean.high), (mean.like_low, mean.like_high), (mean.new_low, mean.new_high)):
        assert (low + high) / 2 == pytest.approx(mean.value)
    assert mean.partly == f"{len(fewer)} of 4 models, those that all targets share"


def test_of_equal_targets_nothing_is_left_out():
    assert over_sets([target("a", range(3)), target("b", range(3))], "ra", "differences").partly == ""


def test_targets_that_share_no_model_have_a_mean_and_no_interval():
    mean = over_sets([target("a", (0, 1)), target("b", (2, 3))], "ra", "differences")
    assert mean.low is None and mean.partly == ""
