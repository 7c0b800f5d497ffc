"""What is on disk of a set: counts found against the catalogue's, without opening an image."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue
from robust_transfer.data.selection import Selection


@dataclass(frozen=True)
class Status:
    """State of one set.

    state : "ok", "partial" (something is there) or "missing"
    found : images of train and of test; None where the split cannot be listed
    problem : the first thing that is not right, one line
    """

    entry: catalogue.Entry
    state: str
    found: tuple[int | None, int | None]
    problem: str | None


def status(name: str, root: str | Path, *, partition: int | None = None) -> Status:
    """Look at both splits of a set."""
    entry, selection = catalogue.get(name), Selection(partition=partition)
    splits = ["train", "test"] if entry.test != 0 else ["train"]
    looks = [_look(entry, split, root, selection) for split in splits]
    counts, problems = [count for count, _ in looks], [problem for _, problem in looks if problem]
    something = any(counts) or (entry.archives and (Path(root) / entry.top).exists())
    state = "ok" if not problems else "partial" if something else "missing"
    found = (counts[0], counts[1] if len(counts) > 1 else 0)
    return Status(entry, state, found, problems[0] if problems else _lost(entry, root, selection))


def _look(
    entry: catalogue.Entry, split: str, root: str | Path, selection: Selection
) -> tuple[int | None, str | None]:
    """Return (images found, what keeps it from being whole) of one split."""
    try:
        return len(catalogue.official_listing(entry.name, root, split, selection).paths), None
    except DataError as error:
        with suppress(DataError):
            lenient = catalogue.official_listing(entry.name, root, split, selection, verify=False)
            return len(lenient.paths), error.what
        return None, error.what


def _lost(entry: catalogue.Entry, root: str | Path, selection: Selection) -> str | None:
    """Say how many images of a set that may be used in part are not there."""
    lost = sum(size - found for found, size in catalogue.coverage(entry.name, root, selection).values())
    return f"{lost:,} listed images are not there; the others are used" if lost else None


def describe(state: Status) -> str:
    """Write one line: name, state, counts found / expected, size, terms, what is wrong or to do."""
    entry = state.entry
    train, test = (
        f"{'-' if found is None else f'{found:,}'}/{'any' if expected is None else f'{expected:,}'}"
        for found, expected in zip(state.found, (entry.train, entry.test), strict=True)
    )
    size = " + ".join(archive.size for archive in entry.archives) or "nothing to download"
    line = f"{entry.name:<11} {state.state:<8} train {train:<19} test {test:<14} {size}; {entry.licence}"
    if state.state == "missing" and entry.archives:
        return f"{line}; rt-data fetch {entry.name}"
    return line if state.problem is None else f"{line}; {state.problem}"
