"""Verify an evaluation: compute again everything that it says, from what it journalled.

Every row of records.csv and every number of summary.json is computed by the evaluator that wrote it, and
compared; nothing that the files say of themselves gives them room.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robust_transfer.config import schema
from robust_transfer.config.data import DataConfig
from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec, Settings
from robust_transfer.core import named
from robust_transfer.core.errors import DataError, EvaluationError
from robust_transfer.core.keys import content_key
from robust_transfer.data.loaders import subset_indices
from robust_transfer.data.opening import open_split
from robust_transfer.evaluation import summary
from robust_transfer.evaluation.warnings import all_warnings
from robust_transfer.store import directories, journal
from robust_transfer.store.records import Summary
from robust_transfer.store.stage_config import StageConfig, read_stage_config

MAX_SHOWN = 10
DISTANCE_ROUNDING = 1e-4  # of a float32 projection and of pixels that are clamped after it
RELATIVE = 1e-12  # sums in another order, another SciPy; everything else is compared exactly
STATED = (
    *("evaluator", "dataset", "split", "num_images", "images", "subset"),
    *("counts", "flags", "marks", "key", "parent"),
)
FROM_HEADER = ("device", "noise_backend", "weights", "kernels")
Row = dict[str, str]


@dataclass
class Findings:
    """What was compared and what differs."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def check(self, what: str, stated: Any, recomputed: Any) -> None:
        """Compare one number, text or list; floats up to the order of a sum."""
        self.compared += 1
        if not _equal(stated, recomputed):
            self.differences.append(f"{what} is {stated!r}, recomputed {recomputed!r}")


def _equal(stated: Any, recomputed: Any) -> bool:
    if isinstance(stated, Mapping) and isinstance(recomputed, Mapping):
        return stated.keys() == recomputed.keys() and all(_equal(stated[k], recomputed[k]) for k in stated)
    if isinstance(stated, float) or isinstance(recomputed, float):
        try:
            return math.isclose(float(stated), float(recomputed), rel_tol=RELATIVE, abs_tol=RELATIVE)
        except (TypeError, ValueError):
            return False
    return bool(stated == recomputed)


def verify(directory: Path, *, labels: Sequence[int] | None = None) -> Findings:
    """Compute every number of records.csv and summary.json again.

    Parameters
    ----------
    directory : of a finished evaluation
    labels : of the whole test set, where it is on disk: shows swapped labels and another choice of images,
        which the files alone can hide

    Raises
    ------
    EvaluationError : a file is missing or cannot be read
    """
    stage, findings = directories.StageDirectory(directory), Findings()
    config, stated = read_stage_config(directory), stage.summary()
    if stated is None:
        raise EvaluationError(f"{directory / 'summary.json'} is missing", _rebuild_hint())
    rows = _records(directory / "records.csv")
    for name in stage.changed():
        findings.differences.append(f"{name} was changed after it was finished")
    findings.check("key of config.yaml", config.key, content_key(config.identity))
    settings = _settings(config, stated, findings)
    entries = _journal_rows(directory, config, stated, findings)
    known_labels = _labels(rows, labels)
    refolded = _folded(config.config, entries, known_labels, findings)
    if refolded is None:
        return findings
    records, image_flags = refolded
    _rows(rows, records, findings)
    _own_checks(config.config.spec, settings, rows, entries, findings)
    _images(stage, config, records, labels, findings)
    _summary(stage, config, settings, stated, records, image_flags, known_labels, findings)
    return findings


def _settings(config: StageConfig, stated: Summary, findings: Findings) -> Settings:
    """Return the settings that the stage has; an older one lacks later ones, or names inert ones."""
    fields = {f.name: f.metadata.get("default_for_hash", f) for f in dataclasses.fields(config.config)}
    settings = {
        name: value
        for name, value in schema.settings(config.config).items()
        if name in stated.settings or value != fields[name]
    }
    older = config.identity.get("format", 1) < 2
    comparable = {n: v for n, v in stated.settings.items() if n in settings or not older}
    findings.check("settings", comparable, settings)
    return settings


def _records(path: Path) -> list[Row]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise EvaluationError(f"{path} is missing", _rebuild_hint()) from error
    if not rows or any(None in row or None in row.values() for row in rows):
        raise EvaluationError(f"{path} is not whole", _rebuild_hint())
    return rows


def _rebuild_hint() -> str:
    return "run the same command again: it is rebuilt from journals"


def _journal_rows(directory: Path, config: StageConfig, stated: Summary, findings: Findings) -> list[Row]:
    """Return the rows of all journals, which must say that they belong to this evaluation."""
    rows: list[Row] = []
    paths = journal.journals(directory)
    if not paths:
        raise EvaluationError(
            f"{directory} holds no journal (expected journal.0.csv, of which records are made)",
            "copy the journals beside the records, or run the same evaluation again",
        )
    for path in paths:
        header, part = journal.read_journal(path)
        findings.check(f"key of {path.name}", header.get("key"), config.key[:12])
        findings.check(f"arithmetic of {path.name}", header.get("arithmetic"), config.config.arithmetic)
        for name in FROM_HEADER:
            findings.check(f"{name} of summary.json", getattr(stated, name), header.get(name))
        rows += part
    if any("index" not in row for row in rows):
        raise EvaluationError(f"a journal of {directory} lacks the column index")
    return rows


def _labels(rows: Sequence[Row], labels: Sequence[int] | None) -> Mapping[int, int]:
    """Return the labels of the test set, or those that the records state."""
    if labels is not None:
        return dict(enumerate(labels))
    return {int(row["index"]): int(row["label"]) for row in rows}


def _folded(
    config: EvaluatorConfig, entries: Sequence[Row], labels: Mapping[int, int], findings: Findings
) -> tuple[list[dict[str, Any]], list[str]] | None:
    """Return the records and the flags that the journals give; None where they give none."""
    unknown = sorted({int(row["index"]) for row in entries} - labels.keys())
    if unknown:
        findings.differences.append(f"the journals have images {unknown[:5]}, which the records have not")
        return None
    try:
        evaluator = config.spec.build(config)
        folded = evaluator.records(entries, labels), evaluator.flags(entries)
    except (EvaluationError, ValueError, LookupError) as error:
        findings.differences.append(f"the journals give no records: {str(error).splitlines()[0]}")
        return None
    return folded


def _rows(rows: Sequence[Row], records: Sequence[dict[str, Any]], findings: Findings) -> None:
    """Compare records.csv cell by cell."""
    findings.check(
        "images of records.csv", [int(row["index"]) for row in rows], [record["index"] for record in records]
    )
    columns = list(records[0]) if records else []
    findings.check("columns of records.csv", list(rows[0]) if rows else [], columns)
    by_index = {row["index"]: row for row in rows}
    for record in records:
        row = by_index.get(str(record["index"]), {})
        for name, value in record.items():
            stated: Any = row.get(name)
            if not isinstance(value, float):
                value = journal.format_cell(value)
            findings.check(f"image {record['index']}: {name}", stated, value)


def _own_checks(
    spec: EvaluatorSpec, settings: Settings, rows: Sequence[Row], entries: Sequence[Row], findings: Findings
) -> None:
    """Run an evaluator's own checks: relations that its records do not compute."""
    if not spec.recompute:
        return
    check = named.load(spec.recompute)
    of_image: dict[str, list[Row]] = {}
    for entry in entries:
        of_image.setdefault(entry["index"], []).append(entry)
    for row in rows:
        check(settings, row, of_image.get(row["index"], []), findings)


def attack_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Hold an attack's flags against its predictions, and the distance against eps."""
    # The accuracy of a model that draws random numbers is expected over draws: any share.
    if settings.get("num_eot", 1) == 1:
        robust = row["clean_prediction"] == row["label"] == row["adversarial_prediction"]
        findings.check(f"image {row['index']}: robust", row["robust"], str(int(robust)))
    eps = float(settings["eps"])
    within = float(row["distance"]) <= eps * (1 + DISTANCE_ROUNDING)
    what = f"image {row['index']}: distance {row['distance']} within eps {eps}"
    findings.check(what, within, True)
    findings.check(f"image {row['index']}: rows in the journal", len(entries), 1)


def _images(
    stage: directories.StageDirectory,
    stored: StageConfig,
    records: Sequence[dict[str, Any]],
    labels: Sequence[int] | None,
    findings: Findings,
) -> None:
    """Compare the images with those that the subset's rule chooses, but for the unreadable ones."""
    config, split = stored.config, stored.dataset.evaluate_on
    on_disk = stage.status().images.get(split)
    total = len(labels) if labels is not None else on_disk[0] if on_disk else None
    if total is None:
        return  # of an older version, and the test set is not on disk
    rule = config.spec.subset_rule(schema.settings(config))
    unreadable = set(all_warnings(stage.path)[1])
    expected = [index for index in subset_indices(total, config.subset, rule=rule) if index not in unreadable]
    measured = [record["index"] for record in records]
    if measured != expected:
        missing, extra = sorted({*expected} - {*measured}), sorted({*measured} - {*expected})
        findings.differences.append(
            f"the images are not those of subset={config.subset} of {total}: "
            f"{len(missing)} missing {missing[:5]}, {len(extra)} extra {extra[:5]}"
        )


def _summary(
    stage: directories.StageDirectory,
    config: StageConfig,
    settings: Settings,
    stated: Summary,
    records: Sequence[dict[str, Any]],
    image_flags: Sequence[str],
    labels: Mapping[int, int],
    findings: Findings,
) -> None:
    """Compare summary.json with what the records give; only `wall_seconds` follows from nothing."""
    status = stage.status()
    metrics, intervals = summary.metrics_of(records, config.config.spec, settings)
    expected = {
        "evaluator": config.identity["evaluator"],
        "dataset": config.dataset.shown_name,
        "split": config.dataset.evaluate_on,
        "num_images": len(records),
        "images": status.images,
        "subset": config.config.subset,
        "counts": summary.counts_of(records),
        "flags": tuple(summary.flags_of(stage.path, image_flags, records, metrics, labels.values())),
        "marks": config.marks,
        "key": stage.key,
        "parent": (status.parent or "")[:12],
    }
    for name in STATED:
        findings.check(f"{name} of summary.json", getattr(stated, name), expected[name])
    findings.check("lineage of summary.json", stated.lineage.values(), config.lineage.values())
    for name in sorted({*stated.metrics, *metrics}):
        findings.check(name, stated.metrics.get(name), metrics.get(name))
    for name in sorted({*stated.intervals, *intervals}):
        findings.check(f"interval of {name}", stated.intervals.get(name), intervals.get(name))


def to_text(name: str, findings: Findings) -> str:
    """Say what was compared and list what differs."""
    head = f"{name}: {findings.compared:,} numbers recomputed, {len(findings.differences)} differ\n"
    shown = "".join(f"  {line}\n" for line in findings.differences[:MAX_SHOWN])
    more = len(findings.differences) - MAX_SHOWN
    return head + shown + (f"  and {more} more\n" if more > 0 else "")


def labels_on_disk(directory: Path, data: DataConfig) -> Sequence[int] | None:
    """Return the labels of the whole test set; None where it is not on disk, or not the one evaluated."""
    config = read_stage_config(directory)
    try:
        dataset = open_split(config.dataset, data, config.dataset.evaluate_on, generated=config.generated)
    except DataError:
        return None
    measured_on = directories.StageDirectory(directory).status().fingerprint
    return dataset.labels if measured_on in (None, dataset.fingerprint()) else None
