"""Sampling covariance of relative gains in SA and in another metric, which both come from the same images."""

from __future__ import annotations

import numpy as np

from robust_transfer.report.analysis import crossed
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.analysis.lines import Array


def gain_covariance(ours: Result, theirs: Result, metric: str) -> Array | None:
    """Return the (2, 2) covariance of the gains of `ours` over `theirs` in SA and in `metric`.

    From runs by their images and replicates; of published accuracies by their number of images, models taken
    as independent. None for a published ACR, whose spread is not printed.
    """
    samples = [ours.gains[m].sample for m in ("sa", metric)]
    if samples[0] is not None and samples[1] is not None:
        return crossed.covariance(samples[0].values, samples[1].values)
    if metric != "ra" or not (ours.num_images and theirs.num_images):
        return None
    covariance = np.zeros((2, 2))
    for result in (ours, theirs):
        sa, ra = (result.estimates[m].value for m in ("sa", "ra"))
        # Relative variances of two shares of n images, one of which holds the other.
        relative = np.array([[(1 - sa) / sa, (1 - sa) / sa], [(1 - sa) / sa, (1 - ra) / ra]])
        covariance += relative / (result.num_images or 1)
    ratios = np.array([1 + ours.gains[m].value for m in ("sa", "ra")])
    return np.outer(ratios, ratios) * covariance
