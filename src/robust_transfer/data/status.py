"""What is on disk of a set: counts found against the catalogue's, without opening an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue


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
    entry = catalogue.get(name)
    train, problem = _look(entry, "train", root, partition)
    test, test_problem = _look(entry, "test", root, partition) if entry.test != 0 else (0, None)
    problem = problem or test_problem
    something = train or test or (entry.archives and (Path(root) / entry.folder).exists())
    state = "ok" if problem is None else "partial" if something else "missing"
    return Status(entry, state, (train, test), problem)


def _look(
    entry: catalogue.Entry, split: str, root: str | Path, partition: int | None
) -> tuple[int | None, str | None]:
    """Return (images found, what is wrong) of one split."""
    try:
        listing = catalogue.official_listing(entry.name, root, split, partition=partition, verify=False)
    except DataError as error:
        return None, error.what
    found = len(listing.paths)
    try:
        catalogue.check_counts(entry, split, listing)
    except DataError as error:
        return found, error.what
    lost = (listing.expected or found) - found
    return found, f"{lost:,} listed {split} images are not there; the others are used" if lost else None


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
