"""What a model card says of a stage beyond the weights themselves: how it was trained, what was measured."""

from __future__ import annotations

from typing import Any

from robust_transfer.data import catalogue
from robust_transfer.report.index.collect import Index, Run
from robust_transfer.report.output.listing import lineage_text
from robust_transfer.store.directories import StageDirectory
from robust_transfer.store.records import Lineage


def card_metadata(stage: StageDirectory, index: Index) -> dict[str, Any]:
    """Return what the model card of a trained stage says of its origin."""
    runs = [run for run in index.runs if run.lineage.finetune_key == stage.key and stage.kind == "finetune"]
    lineage = stage.status().lineage
    metadata: dict[str, Any] = {
        "title": stage.path.name,
        "recipe": lineage_text(lineage) + f". Training stage {stage.key}.",
        "results": [result for run in runs for result in _results(run)],
    }
    if licences := _licences(lineage):
        metadata["licence"] = f"of the data, as their authors state it: {licences}"
    if runs:
        metadata["commit"] = runs[0].commit
        metadata["data"] = f"fine-tuned and measured on {runs[0].cell.target}"
        metadata["threat_model"] = "; ".join(dict.fromkeys(run.settings_line for run in runs))
    return metadata


def _licences(lineage: Lineage) -> str:
    """Name the terms of the data that the weights have seen; a user's own folder has none here."""
    seen = (lineage.source, lineage.dataset)
    known = [
        catalogue.get(name)
        for name in seen
        if name is not None and name in catalogue.names() and name != "imagefolder"
    ]
    return "; ".join(f"{entry.title}: {entry.licence}" for entry in known)


def _results(run: Run) -> list[dict[str, Any]]:
    found = []
    for metric, value in run.metrics.items():
        stated = run.intervals.get(metric)
        if value is not None and stated:
            interval = [stated["low"], stated["high"]]
            place = {
                "evaluator": run.evaluator,
                "metric": metric,
                "num_images": run.num_images,
                "key": run.key,
            }
            found.append({**place, "value": value, "interval": interval, "settings": run.settings_line})
    return found
