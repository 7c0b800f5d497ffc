"""Linear probes of ImageNet pre-trainings beside the accuracy that is published for their recipe."""

from __future__ import annotations

from dataclasses import dataclass

from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.index.recipes import pretrain_recipe

SOURCE = "imagenet"


@dataclass(frozen=True)
class Probe:
    """A measured linear probe; published and ours as fractions.

    recipe : (epochs, batch size) of the pre-training, None where it is not in the store
    """

    run: Run
    recipe: tuple[int | None, int | None]
    published: float
    ours: float
    low: float | None
    high: float | None


def linear_probes(index: Index) -> list[Probe]:
    """Return the probes on all of ImageNet of pre-trainings that a published value belongs to."""
    probes = []
    for run in index.runs:
        lineage = run.lineage
        published = lineage.pretrain_expected_linear_probe
        kind = (run.evaluator, lineage.finetune, run.dataset, lineage.source)
        few_labels = lineage.shots is not None or lineage.train_fraction is not None
        ours = run.metrics.get("sa")
        if run.summary.split != "test":
            continue
        if published is None or ours is None or few_labels or kind != ("clean", "st_linear", SOURCE, SOURCE):
            continue
        settings = pretrain_recipe(index, run)
        stated = run.intervals.get("sa") or {}
        recipe = (settings.get("epochs"), settings.get("batch_size"))
        probes.append(Probe(run, recipe, published / 100, ours, stated.get("low"), stated.get("high")))
    return probes
