"""Recompute what an evaluation says from what it journalled."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robust_transfer.config.evaluation import evaluator_spec
from robust_transfer.config.evaluator import METRICS, Settings
from robust_transfer.core import named
from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.statistics import mean_per_class
from robust_transfer.evaluation.summary import interval_of
from robust_transfer.store import journal
from robust_transfer.store.records import Summary

MOST_SHOWN = 10
DISTANCE_ROUNDING = 1e-4  # of a float32 projection and of pixels that are clamped after it
CERTIFY_JOURNAL = {"index", "purpose", "start", "stop", "guess", "count", "near_ties", "nonfinite"}
Row = dict[str, str]
RELATIVE = 1e-12  # sums in another order; everything else is compared exactly


@dataclass
class Findings:
    """What was compared and what differs."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def check(self, what: str, stated: Any, recomputed: Any) -> None:
        """Compare one number; floats up to the order of a sum."""
        self.compared += 1
        if not _equal(stated, recomputed):
            self.differences.append(f"{what} is {stated!r}, recomputed {recomputed!r}")


def _equal(stated: Any, recomputed: Any) -> bool:
    if isinstance(stated, float) or isinstance(recomputed, float):
        if stated is None or recomputed is None:
            return stated is recomputed
        return math.isclose(float(stated), float(recomputed), rel_tol=RELATIVE, abs_tol=RELATIVE)
    return bool(stated == recomputed)


def verify(stage: Path, summary: Summary) -> Findings:
    """Recompute every number of records.csv and summary.json in a stage's directory that follows from others.

    Raises
    ------
    EvaluationError : a file is missing or cannot be read
    """
    findings = Findings()
    rows = _records(stage / "records.csv")
    findings.check("num_images in summary.json", summary.num_images, len(rows))
    indices = [int(row["index"]) for row in rows]
    findings.check("order of records.csv", indices, sorted(set(indices)))
    entries = _journal_rows(stage)
    findings.check("images in the journals", sorted(map(int, entries)), indices)
    recompute = named.load(evaluator_spec(summary.evaluator).recompute)
    for row in rows:
        recompute(summary.settings, row, entries.get(row["index"], []), findings)
    _summary(summary, rows, findings)
    return findings


def _records(path: Path) -> list[Row]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise EvaluationError(
            f"{path} is missing", "run the same command again: it is rebuilt from journals"
        ) from error


def _journal_rows(directory: Path) -> dict[str, list[Row]]:
    """Return what the journals say of each image."""
    entries: dict[str, list[Row]] = {}
    for path in journal.journals(directory):
        for entry in journal.read_journal(path)[1]:
            if "index" not in entry:
                raise EvaluationError(f"{path} lacks the column index")
            entries.setdefault(entry["index"], []).append(entry)
    return entries


# ---------------------------------------------------------------- rows


def clean_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Recompute `correct`, and compare the row with the journal's."""
    findings.check(_at(row, "correct"), row["correct"], str(int(row["prediction"] == row["label"])))
    _journalled(row, entries, findings)


def attack_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Recompute `correct` and `robust`, hold the distance against eps, and compare with the journal's row."""
    correct = row["clean_prediction"] == row["label"]
    robust = correct and row["adversarial_prediction"] == row["label"]
    findings.check(_at(row, "correct"), row["correct"], str(int(correct)))
    if row["robust"] in ("0", "1"):  # what is between is the expected accuracy of a randomised model
        findings.check(_at(row, "robust"), row["robust"], str(int(robust)))
    eps = float(settings["eps"])
    inside = float(row["distance"]) <= eps * (1 + DISTANCE_ROUNDING)
    findings.check(_at(row, f"distance {row['distance']} within eps {eps}"), inside, True)
    _journalled(row, entries, findings)


def _journalled(row: Row, entries: list[Row], findings: Findings) -> None:
    for entry in entries:
        for name in sorted(entry.keys() & row.keys()):
            findings.check(_at(row, name), row[name], entry[name])


def certify_row(settings: Settings, row: Row, entries: list[Row], findings: Findings) -> None:
    """Recompute an image's certificate from its counts, and its counts from the journal's."""
    _certificate(settings, row, findings)
    _counts(row, entries, findings)


def _certificate(settings: Settings, row: Row, findings: Findings) -> None:
    from robust_transfer.core.binomial import lower_bound
    from robust_transfer.smoothing.bounds import certified_radius

    sigma, samples = float(settings["sigma"]), int(row["num_samples"])
    findings.check(_at(row, "correct"), row["correct"], str(int(row["prediction"] == row["label"])))
    findings.check(_at(row, "prediction is guess or -1"), row["prediction"] in (row["guess"], "-1"), True)
    if row["stopped"] == "label":
        findings.check(_at(row, "prediction after the label skip"), row["prediction"], "-1")
        findings.check(_at(row, "radius after the label skip"), float(row["radius"]), 0.0)
        return
    if sigma == 0 or samples == 0:
        findings.check(_at(row, "radius without noise"), float(row["radius"]), 0.0)
        return
    within = float(row["alpha_spent"]) <= float(settings["alpha"]) * (1 + RELATIVE)
    findings.check(_at(row, "alpha_spent within alpha"), within, True)
    p_lower = lower_bound(int(row["count_top"]), samples, float(row["alpha_spent"]))
    findings.check(_at(row, "p_lower"), float(row["p_lower"]), p_lower)
    findings.check(_at(row, "abstention"), row["prediction"] == "-1", not p_lower > 0.5)
    radius = certified_radius(p_lower, sigma)
    if settings.get("mode") == "decide":
        findings.check(_at(row, "radius at most the certified one"), float(row["radius"]) <= radius, True)
    else:
        findings.check(_at(row, "radius"), float(row["radius"]), radius)


def _counts(row: Row, entries: list[Row], findings: Findings) -> None:
    """Add up the counts; a unit of samples that stands twice is one draw and counts once."""
    if lacking := {name for entry in entries for name in CERTIFY_JOURNAL - entry.keys()}:
        raise EvaluationError(f"the journal lacks columns ({', '.join(sorted(lacking))})")
    units = {(entry["purpose"], int(entry["start"])): entry for entry in entries}
    estimates = {start: entry for (purpose, start), entry in units.items() if purpose == "estimate"}
    for entry in entries:
        findings.check(_at(row, "guess"), row["guess"], entry["guess"])
    samples = int(row["num_samples"])
    reported = [entry for start, entry in estimates.items() if start < samples]
    findings.check(_at(row, "count_top"), int(row["count_top"]), _sum(reported, "count"))
    findings.check(_at(row, "samples without a gap"), _drawn(reported), samples)
    findings.check(_at(row, "samples_drawn"), int(row["samples_drawn"]), _drawn(list(estimates.values())))
    for name in ("nonfinite", "near_ties"):
        findings.check(_at(row, name), int(row[name]), _sum(list(units.values()), name))


def _at(row: Row, what: str) -> str:
    return f"image {row['index']}: {what}"


def _sum(entries: list[Row], name: str) -> int:
    return sum(int(entry[name]) for entry in entries)


def _drawn(entries: list[Row]) -> int:
    return sum(int(entry["stop"]) - int(entry["start"]) for entry in entries)


# ---------------------------------------------------------------- summary


def _summary(summary: Summary, rows: list[Row], findings: Findings) -> None:
    spec = evaluator_spec(summary.evaluator)
    labels = np.array([int(row["label"]) for row in rows])
    columns = {name: np.array([float(row[name]) for row in rows]) for name in spec.metric_columns}
    values = spec.values(columns, summary.settings)
    for metric in METRICS:
        stated = summary.metrics.get(metric)
        if metric not in values:
            findings.check(metric, stated, None)
            continue
        found = values[metric]
        findings.check(metric, stated, float(found.mean()))
        if f"{metric}_per_class" in summary.metrics:
            per_class = summary.metrics[f"{metric}_per_class"]
            findings.check(f"{metric}_per_class", per_class, mean_per_class(labels, found))
        if metric in summary.intervals:
            bounds = interval_of(metric, found.tolist())
            for name, bound in zip(("low", "high", "method"), bounds, strict=True):
                findings.check(f"interval of {metric}: {name}", summary.intervals[metric].get(name), bound)


def to_text(stage: Path, findings: Findings) -> str:
    """Say what was compared and list what differs."""
    head = f"{stage.name}: {findings.compared:,} numbers recomputed, {len(findings.differences)} differ\n"
    shown = "".join(f"  {line}\n" for line in findings.differences[:MOST_SHOWN])
    more = len(findings.differences) - MOST_SHOWN
    return head + shown + (f"  and {more} more\n" if more > 0 else "")
