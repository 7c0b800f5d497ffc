"""The study's published numbers, which also say what cells its tables have."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from robust_transfer.report.index.cells import Cell

TABLES = ("2", "3", "4", "5")


@dataclass(frozen=True)
class PublishedClaim:
    """A number in the study's text."""

    name: str
    table: str
    pretrain: str
    definition: str
    value: float


@cache
def results() -> dict[str, dict[Cell, dict[str, float]]]:
    """Return table -> cell -> metric -> value, in the study's order; sa and ra as fractions."""
    tables: dict[str, dict[Cell, dict[str, float]]] = {}
    for row in _rows("published_results.csv"):
        sigma = float(row["sigma"]) if row["sigma"] else None
        cell = Cell(row["dataset"], row["pretrain"], row["finetune"], row["evaluator"], sigma)
        scale = 1.0 if row["metric"] == "acr" else 100.0
        tables.setdefault(row["table"], {}).setdefault(cell, {})[row["metric"]] = float(row["value"]) / scale
    return tables


@cache
def all_cells() -> dict[Cell, dict[str, float]]:
    """Return every published cell: a table may need another one's cells without pre-training."""
    return {cell: metrics for table in results().values() for cell, metrics in table.items()}


@cache
def claims() -> tuple[PublishedClaim, ...]:
    """Return the numbers of the study's text, in its order."""
    return tuple(
        PublishedClaim(row["claim"], row["table"], row["pretrain"], row["definition"], float(row["value"]))
        for row in _rows("published_claims.csv")
    )


def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("robust_transfer.report.index") / "reference" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
