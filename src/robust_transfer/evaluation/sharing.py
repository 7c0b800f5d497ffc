"""Noise samples that several processes draw together: each the same number, whoever's image they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from robust_transfer.core.errors import EvaluationError
from robust_transfer.distributed.context import Context
from robust_transfer.smoothing.counts import ClassCounts, Unit
from robust_transfer.smoothing.settings import BLOCK

Drawn = Iterable[tuple[Unit, ClassCounts]]
SAMPLES_AT_ONCE = 10_000  # of a process, between two exchanges: what a kill loses at most


def draw_together(
    draw: Callable[[Sequence[Unit]], Drawn], units: Sequence[Unit], processes: Context, *, divisible: bool
) -> Drawn:
    """Yield every unit with its counts, in every process.

    units : the same in every process
    divisible : whether the samples of a unit may be drawn by several processes

    Raises
    ------
    EvaluationError : the processes did not draw the same units
    """
    if processes.world_size == 1:
        yield from draw(units)
        return
    for group in groups(units, SAMPLES_AT_ONCE * processes.world_size):
        place = processes.rank, processes.world_size
        own = share(group, *place) if divisible else group[processes.rank :: processes.world_size]
        pieces = [piece for part in processes.all_values(list(draw(own))) for piece in part]
        yield from joined(group, pieces)


def groups(units: Sequence[Unit], most: int) -> Iterator[list[Unit]]:
    """Cut units, in their order, into groups of at most `most` samples, at least one unit each."""
    group: list[Unit] = []
    samples = 0
    for unit in units:
        if group and samples + unit.stop - unit.start > most:
            yield group
            group, samples = [], 0
        group.append(unit)
        samples += unit.stop - unit.start
    if group:
        yield group


def share(units: Sequence[Unit], rank: int, world_size: int) -> list[Unit]:
    """Return the samples of units that are a process's: as many as any other's, but for one block."""
    blocks = sum(unit.stop - unit.start for unit in units) // BLOCK
    first, last = (blocks * r // world_size * BLOCK for r in (rank, rank + 1))
    own, passed = [], 0
    for unit in units:
        start, stop = (min(max(unit.start, unit.start + end - passed), unit.stop) for end in (first, last))
        if start < stop:
            own.append(dataclasses.replace(unit, start=start, stop=stop))
        passed += unit.stop - unit.start
    return own


def joined(units: Sequence[Unit], pieces: Drawn) -> Drawn:
    """Put the counts of each unit's pieces together."""
    of_image: dict[int, list[tuple[Unit, ClassCounts]]] = {}
    for piece, counts in pieces:
        of_image.setdefault(piece.index, []).append((piece, counts))
    for unit in units:
        own = [(p, c) for p, c in of_image.get(unit.index, []) if unit.start <= p.start < unit.stop]
        if sum(p.stop - p.start for p, _ in own) != unit.stop - unit.start:
            raise EvaluationError(
                f"image {unit.index}: the processes did not draw the same samples",
                "an image may be unreadable on one of the machines; start again to go on from what is done",
            )
        yield unit, sum((counts for _, counts in own), ClassCounts())
