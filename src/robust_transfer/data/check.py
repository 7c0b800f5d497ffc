"""Open and decode every image of a set, in parallel."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue
from robust_transfer.data.images import FileImages, open_rgb
from robust_transfer.data.selection import Selection

MIN_FOR_POOL = 256  # fewer files are decoded before a pool has started


def unreadable_images(
    name: str,
    root: str | Path,
    *,
    partition: int | None = None,
    verify: bool = True,
    num_workers: int | None = None,
) -> tuple[int, list[str]]:
    """Check files, lists and counts, then decode every image of train and test.

    Returns
    -------
    (images checked, one line for each that cannot be read)

    Raises
    ------
    DataError : with `verify`, the set is not whole, before any image is opened; else, nothing is on disk
    """
    entry, selection = catalogue.get(name), Selection(partition=partition)
    listings, errors = [], []
    for split in ("train", "test") if entry.test != 0 else ("train",):
        try:
            listings.append(catalogue.official_listing(entry, root, split, selection, verify=verify))
        except DataError as error:
            errors.append(error)
    if errors and (verify or not listings):
        raise errors[0]
    # Sets held in memory were decoded by being listed.
    files = [
        str(Path(root) / path)
        for listing in listings
        if isinstance(listing.read, FileImages)
        for path in listing.paths
    ]
    results = tqdm(
        _decode_all(files, num_workers or os.cpu_count() or 1),
        total=len(files),
        desc=name,
        unit="img",
        disable=None,
    )
    return sum(len(listing.paths) for listing in listings), [problem for problem in results if problem]


def _decode_all(files: list[str], num_workers: int) -> Iterator[str | None]:
    if num_workers == 1 or len(files) < MIN_FOR_POOL:
        yield from map(problem_with, files)
        return
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(problem_with, files, chunksize=64)


def problem_with(path: str) -> str | None:
    """Decode one file; return what is wrong with it, or None."""
    try:
        open_rgb(Path(path))
    except DataError as error:
        return error.what
    return None
