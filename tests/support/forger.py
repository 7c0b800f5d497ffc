"""Changes to a finished evaluation by somebody who knows the formats and keeps all else consistent."""

import csv
import json
import re
from pathlib import Path

from robust_transfer.config import schema
from robust_transfer.core.files import sha256
from robust_transfer.evaluation import summary
from robust_transfer.store.journal import journals, read_journal
from robust_transfer.store.stage_config import read_stage_config

NUMBER = re.compile(r"(?<![\w.\x22])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")
WITNESSES = ("journal.0.csv", "records.csv", "summary.json")


def journal_rows(stage: Path) -> list[dict[str, str]]:
    return read_journal(stage / "journal.0.csv")[1]


def write_journal(stage: Path, rows: list[dict[str, str]]) -> None:
    path = stage / "journal.0.csv"
    head = path.read_text().splitlines()[:2]
    body = [",".join(row[name] for name in head[1].split(",")) for row in rows]
    path.write_text("\n".join([*head, *body]) + "\n")


def record_rows(stage: Path) -> list[dict[str, str]]:
    with open(stage / "records.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def write_records(stage: Path, rows: list[dict[str, str]]) -> None:
    """Write records as they are and everything that follows from them."""
    summary.write_records(stage / "records.csv", rows)
    config = read_stage_config(stage).config
    typed = [{name: _typed(cell) for name, cell in row.items()} for row in rows]
    metrics, intervals = summary.metrics_of(typed, config.spec, schema.settings(config))
    counts = summary.counts_of(typed)
    edit_summary(stage, metrics=metrics, intervals=intervals, counts=counts, num_images=len(rows))


def edit_summary(stage: Path, **changes) -> None:
    path = stage / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    seal(stage)


def rebuild(stage: Path, labels) -> None:
    """Fold the journals as the evaluator does, and write what follows."""
    config = read_stage_config(stage).config
    rows = [row for path in journals(stage) for row in read_journal(path)[1]]
    summary.write_records(stage / "records.csv", config.spec.build(config).records(rows, labels))
    write_records(stage, record_rows(stage))


def seal(stage: Path) -> None:
    """State the hashes of the files as they are now."""
    status = json.loads((stage / "status.json").read_text())
    status["files"] = {name: sha256(stage / name) for name in ("records.csv", "summary.json")}
    (stage / "status.json").write_text(json.dumps(status))


def numbers(text: str, *, last_column: bool) -> list[tuple[int, int]]:
    """Where the numbers of a file stand that follow from others.

    Some follow from nothing but measuring again: the wall time, which class had votes that were not the
    guess's, and an attack's near ties, in the last column but one of its journal.
    """
    spared = r'"wall_seconds": [^,\n]*|\d+(?=:\d)' if last_column else r",\d+(?=,[^,\n]*$)"
    left_out = [match.span() for match in re.finditer(spared, text, re.MULTILINE)]
    spans = (match.span() for match in NUMBER.finditer(text))
    return [(a, b) for a, b in spans if not any(first <= a < last for first, last in left_out)]


def _typed(cell: str):
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        return float(cell)
    except ValueError:
        return cell
