"""What a figure is before it is drawn, and the files it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.core.files import write_text
from robust_transfer.report.index.collect import Run, commits
from robust_transfer.report.output import canvas
from robust_transfer.report.output.formats import comma_separated


@dataclass(frozen=True)
class Drawing:
    """A figure's panels, its caption, its data and where they come from.

    draw, label : called with the list of axes; `label` when they have their final place
    columns, rows : the plotted numbers
    """

    name: str
    caption: str
    shape: tuple[int, int]
    draw: Callable[[list[Any]], None]
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    source: str
    label: Callable[[list[Any]], None] | None = None


def source_of(runs: Iterable[Run]) -> str:
    """Name the commit and the stage keys of runs in one line."""
    found = {run.key: run for run in runs}
    if not found:
        return "published numbers"
    return f"commit {', '.join(commits(found.values()))}; stages {' '.join(found)}"


def write(drawing: Drawing, directory: Path) -> list[Path]:
    """Write NAME.png, NAME.pdf, NAME.csv (the plotted numbers) and NAME.md (caption and source)."""
    with canvas.panels(*drawing.shape) as (figure, axes):
        drawing.draw(axes)
        canvas.arrange(figure, drawing.caption)
        if drawing.label:
            drawing.label(axes)
        written = canvas.save(figure, directory / drawing.name, source=drawing.source)
    text = f"![{drawing.name}]({drawing.name}.png)\n\n{drawing.caption}\n\n{drawing.source}\n"
    columns = (*drawing.columns, "source")
    rows = [(*row, drawing.source) for row in drawing.rows]
    for suffix, content in ((".csv", comma_separated(columns, rows)), (".md", text)):
        path = directory / (drawing.name + suffix)
        write_text(path, content)
        written.append(path)
    return written
