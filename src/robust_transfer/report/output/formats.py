"""Blocks and tables as Markdown, and a table as CSV or LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence

from robust_transfer.report.study.blocks import Block, Bullets, Code, Grid, Heading, Paragraph

MAX_COLUMNS = 5  # of a LaTeX table that is as wide as it is; wider ones are made to fit the line
LATEX = {
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "±": r"$\pm$",
    "σ": r"$\sigma$",
    "−": "$-$",
    "–": "--",
    "∞": r"$\infty$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "²": r"\textsuperscript{2}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "$": r"\$",
    "\\": r"\textbackslash{}",
}


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


def latex(grid: Grid, *, caption: str = "", label: str = "", below: Sequence[str] = ()) -> str:
    """Write a grid as a LaTeX table with booktabs rules; `below` are notes under it.

    A document needs the packages booktabs and graphicx.
    """
    columns = "".join("l" if grid.is_left(i) else "r" for i in range(len(grid.headers)))
    wide = len(grid.headers) > MAX_COLUMNS
    body = [
        " & ".join(_cell(text, (i, j) in grid.bold) for j, text in enumerate(row)) + r" \\"
        for i, row in enumerate(grid.rows)
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escape(caption)}}}"] if caption else []),
        *([rf"\label{{{label}}}"] if label else []),
        *([r"\resizebox{\linewidth}{!}{"] if wide else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_headers(grid),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}" + ("}" if wide else ""),
        *(rf"\par\footnotesize {escape(line)}" for line in below),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str, bold: bool) -> str:
    return rf"\textbf{{{escape(text)}}}" if bold else escape(text)


def _headers(grid: Grid) -> list[str]:
    """Return the header rows: groups of columns over the columns where there are groups."""
    if not grid.groups:
        return [" & ".join(map(escape, grid.headers)) + r" \\"]
    above, rules, short, column = [""] * grid.labels, [], list(grid.headers[: grid.labels]), grid.labels
    for name, span in grid.groups:
        above.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(name)}}}")
        rules.append(rf"\cmidrule(lr){{{column + 1}-{column + span}}}")
        short += [header.removeprefix(f"{name} ") for header in grid.headers[column : column + span]]
        column += span
    return [" & ".join(above) + r" \\", "".join(rules), " & ".join(map(escape, short)) + r" \\"]


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


def page(blocks: Iterable[Block]) -> str:
    """Write blocks as Markdown, each set apart by an empty line and wrapped for a terminal."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"## {block.text}"
        case Grid():
            return markdown(block).rstrip("\n")
        case Paragraph():
            return "\n".join(map(filled, block.lines))
        case Bullets():
            return "\n".join(filled(item, bullet="- ") for item in block.items)
        case Code():
            return "\n".join(f"    {line}" for line in block.lines)


def filled(text: str, *, bullet: str = "", width: int = 80) -> str:
    """Break a line for a terminal."""
    return textwrap.fill(
        text,
        width,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
