"""The metadata of a stage's model card: how the model was trained, and what was measured."""

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
        metadata["data"] = f"fine-tuned and measured on {runs[0].cell.target}"
    return metadata | _measured(runs)


def evaluation_card(run: Run) -> dict[str, Any]:
    """Return what the card says of a model that is no stage's: a file, or one behind a denoiser."""
    lineage = run.lineage
    behind = f", behind the {lineage.defence}" if lineage.defence else ""
    return {
        "title": run.path.name,
        "recipe": f"{lineage_text(lineage)}{behind}. File with sha256 {lineage.file_sha256}.",
        "data": f"measured on {run.cell.target}",
        "results": _results(run),
        **_measured([run]),
    }


def _measured(runs: list[Run]) -> dict[str, Any]:
    if not runs:
        return {}
    settings = "; ".join(dict.fromkeys(run.settings_line for run in runs))
    return {"commit": runs[0].commit, "threat_model": settings}


def _licences(lineage: Lineage) -> str:
    """Name the terms of the data that the weights have seen; none for a user's own folder."""
    seen = (lineage.source, lineage.dataset)
    entries = [
        catalogue.get(name)
        for name in seen
        if name is not None and name in catalogue.names() and name != "imagefolder"
    ]
    return "; ".join(f"{entry.title}: {entry.licence}" for entry in entries)


def _results(run: Run) -> list[dict[str, Any]]:
    results = []
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
            results.append({**place, "value": value, "interval": interval, "settings": run.settings_line})
    return results
