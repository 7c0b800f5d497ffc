"""One table in three formats: Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

LATEX = {
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "±": r"$\pm$",
    "σ": r"$\sigma$",
    "−": "$-$",
    "–": "--",
}


@dataclass(frozen=True)
class Grid:
    """Text cells under headers; all but the first `labels` and last `notes` columns are aligned right."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1
    title: str = ""
    notes: int = 0

    def is_left(self, column: int) -> bool:
        """Tell whether a column is aligned left."""
        return column < self.labels or column >= len(self.headers) - self.notes


def markdown(grid: Grid) -> str:
    """Write a grid as a Markdown table that is aligned as plain text too."""
    widths = [max(len(row[i]) for row in (grid.headers, *grid.rows)) for i in range(len(grid.headers))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if grid.is_left(i) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * w if grid.is_left(i) else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    title = [f"**{grid.title}**", ""] if grid.title else []
    return (
        "\n".join([*title, line(grid.headers), "| " + " | ".join(rule) + " |", *map(line, grid.rows)]) + "\n"
    )


def latex(grid: Grid, *, caption: str = "", label: str = "") -> str:
    """Write a grid as a LaTeX table with booktabs rules."""
    columns = "".join("l" if grid.is_left(i) else "r" for i in range(len(grid.headers)))
    body = [" & ".join(map(escape, row)) + r" \\" for row in grid.rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escape(caption)}}}"] if caption else []),
        *([rf"\label{{{label}}}"] if label else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escape, grid.headers)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape what LaTeX reads as a command."""
    return "".join(LATEX.get(character, character) for character in text)


def comma_separated(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write rows as CSV: numbers in full precision, None as an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(headers)
    for row in rows:
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in row])
    return stream.getvalue()


def wrapped(lines: Sequence[str], width: int = 80) -> str:
    """Break lines for a terminal; tables and indented commands stay whole."""
    kept = [
        line
        if line.startswith(("|", "    "))
        else textwrap.fill(
            line,
            width,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    ]
    return "\n".join(kept)


def percent(value: float | None, *, signed: bool = False) -> str:
    """Write a fraction in percent with one decimal; signed ones from 100 % on without."""
    if value is None:
        return "–"
    if signed and abs(value) >= 1:
        return f"{100 * value:+.0f}"
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def metric_text(metric: str, value: float | None) -> str:
    """Write a metric's value: percent for accuracies, three decimals for the radius."""
    if value is None:
        return "–"
    return f"{value:.3f}" if metric == "acr" else percent(value)


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """Write an interval of a metric, empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{metric_text(metric, low)}, {metric_text(metric, high)}]"
