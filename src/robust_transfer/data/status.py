"""How much of a set is on disk: counts against the catalogue's, without opening an image."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue
from robust_transfer.data.pins import first_read
from robust_transfer.data.selection import Selection
from robust_transfer.data.whole import pin_of


@dataclass(frozen=True)
class Status:
    """State of one set.

    state : "ok", "partial" or "missing"
    found : images of train and of test; None where the split cannot be listed
    problem : the first fault, one line
    root, partition : the folder that was searched, and the official partition
    """

    entry: catalogue.Entry
    state: str
    found: tuple[int | None, int | None]
    problem: str | None
    root: Path
    partition: int | None = None

    def values(self) -> dict[str, Any]:
        """Return the values that `--json` prints."""
        return {
            "name": self.entry.name,
            "state": self.state,
            "found": dict(zip(("train", "test"), self.found, strict=True)),
            "expected": {"train": self.entry.train, "test": self.entry.test},
            "problem": self.problem,
            "licence": self.entry.licence,
        }


def status(name: str, root: str | Path, *, partition: int | None = None) -> Status:
    """Return the state of both splits of a set."""
    entry, selection = catalogue.get(name), Selection(partition=partition)
    splits = ["train", "test"] if entry.test != 0 else ["train"]
    results = [_count(entry, split, root, selection) for split in splits]
    counts, problems = [count for count, _ in results], [problem for _, problem in results if problem]
    any_there = any(counts) or (entry.archives and (Path(root) / entry.top).exists())
    state = "ok" if not problems else "partial" if any_there else "missing"
    found = (counts[0], counts[1] if len(counts) > 1 else 0)
    problem = problems[0] if problems else _absent(entry, root, selection)
    return Status(entry, state, found, problem, Path(root), catalogue.check_partition(entry, partition))


def _count(
    entry: catalogue.Entry, split: str, root: str | Path, selection: Selection
) -> tuple[int | None, str | None]:
    """Return (images found, what keeps it from being whole) of one split."""
    try:
        return len(catalogue.official_listing(entry, root, split, selection).paths), None
    except DataError as error:
        with suppress(DataError):
            lenient = catalogue.official_listing(entry, root, split, selection, verify=False)
            return len(lenient.paths), error.what
        return None, error.what


def _absent(entry: catalogue.Entry, root: str | Path, selection: Selection) -> str | None:
    """Say how many images of a set that may be incomplete are absent."""
    absent = sum(size - found for found, size in catalogue.coverage(entry.name, root, selection).values())
    return f"{absent:,} listed images are absent; the others are used" if absent else None


def describe(state: Status, width: int = 80) -> str:
    """Write the line of a set; below it its fault or next step, its terms, and what its lists go by."""
    entry = state.entry
    terms = f"terms: {entry.licence}"
    if state.state == "missing" and entry.archives:
        terms += f"; rt-data fetch {entry.name}"
    details = [state.problem if state.state != "missing" else None, terms, _lists(state)]
    below = [
        textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ") for text in details if text
    ]
    return "\n".join([line(state), *below])


def line(state: Status) -> str:
    """Write one line of at most 80 columns: name, state, images found / expected, download size."""
    entry = state.entry
    train, test = (
        f"{'-' if found is None else f'{found:,}'}/{'any' if expected is None else f'{expected:,}'}"
        for found, expected in zip(state.found, (entry.train, entry.test), strict=True)
    )
    return f"{entry.name:<13} {state.state:<8} {train:>19} {test:>15} {_weight(entry):>10}"


def _weight(entry: catalogue.Entry) -> str:
    """Return the total size of the archives with two digits."""
    units = {"GB": 1e9, "MB": 1e6, "KB": 1e3}
    sizes = [archive.size.split() for archive in entry.archives]
    total = sum(float(number) * units[unit] for number, unit in sizes if unit in units)
    if not sizes:
        return "in Python" if entry.num_classes else ""
    unit = next((unit for unit, size in units.items() if total >= size), None)
    return f"{float(f'{total / units[unit]:.2g}'):g} {unit}" if unit else "lists only"


def _lists(state: Status) -> str | None:
    """Say what the lists of a whole set are compared with, where it is not their published hash."""
    if state.state != "ok":
        return None
    pins = [pin_of(state.entry, split, state.partition) for split in ("train", "test")]
    days = [first_read(state.root, pin) or "from now on" for pin in pins if pin]
    return f"lists: no published hash; compared with the first whole copy here ({days[0]})" if days else None
