"""Text in columns, as wide as the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

EMPTY = ("", "-", "–")


def columns(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Align text in columns two spaces apart, one line per row.

    Parameters
    ----------
    width : columns that do not fit into it stand below their row, indented; None: one line however long
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fitting = len(widths)
    if width is not None:
        while fitting > 1 and sum(widths[:fitting]) + 2 * (fitting - 1) > width:
            fitting -= 1
    lines = []
    for row in rows:
        lines.append("  ".join(map(str.ljust, row[:fitting], widths)).rstrip())
        if rest := [cell for cell in row[fitting:] if cell not in EMPTY]:
            below = "  ".join(rest)
            lines += textwrap.wrap(below, width or 80, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def terminal_width() -> int | None:
    """Return how many columns stdout has; None where it is not a terminal and $COLUMNS does not say."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None
