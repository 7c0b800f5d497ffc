"""What a page consists of, before it is Markdown, LaTeX or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """The title of a page."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Lines of running text, each on a line of its own; `small` for an origin, in small print."""

    lines: tuple[str, ...]
    small: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Commands to copy."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """Text cells under headers; all but the first `labels` and last `notes` columns are aligned right.

    groups : (name, number of columns) over all columns after the labels, where headers begin with names
    bold : (row, column) of the best cells
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1
    title: str = ""
    notes: int = 0
    groups: tuple[tuple[str, int], ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()

    def is_left(self, column: int) -> bool:
        """Tell whether a column is aligned left."""
        return column < self.labels or column >= len(self.headers) - self.notes


Block = Heading | Paragraph | Bullets | Code | Grid


def bullets(items: Sequence[str]) -> list[Block]:
    """Return a list of items, nothing for none."""
    return [Bullets(tuple(items))] if items else []
