"""What a figure is before it is drawn, and the files it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_transfer.core.files import write_text
from robust_transfer.report.index.collect import Run, commits
from robust_transfer.report.index.environments import environments
from robust_transfer.report.output import canvas
from robust_transfer.report.output.formats import comma_separated


@dataclass(frozen=True)
class Drawing:
    """A figure's panels, its caption, its data and where they come from.

    draw, label : called with the list of axes; `label` when they have their final place
    columns, rows : the plotted numbers
    runs : where they come from; none for published numbers
    tags : what a reader must know beside the tags and warnings of the runs
    """

    name: str
    caption: str
    shape: tuple[int, int]
    draw: Callable[[list[Any]], None]
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    runs: tuple[Run, ...] = ()
    tags: tuple[str, ...] = ()
    label: Callable[[list[Any]], None] | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """Tags and warnings behind the figure."""
        return tuple(sorted({*self.tags, *(notice for run in self.runs for notice in run.notices)}))

    @property
    def text(self) -> str:
        """The caption, with all notices."""
        return " ".join([self.caption, *(f"Notice: {notice}." for notice in self.notices)])

    @property
    def source(self) -> str:
        """The commit, what it was made with, and the stage keys in one line."""
        runs = {run.key: run for run in self.runs}
        if not runs:
            return "published numbers"
        made_with = "; ".join(environments(runs.values()))
        return f"commit {', '.join(commits(runs.values()))}; made with {made_with}; stages {' '.join(runs)}"


def write(drawing: Drawing, directory: Path, suffixes: Sequence[str] = canvas.PRINTED) -> list[Path]:
    """Write NAME.png, NAME.pdf, NAME.csv (the plotted numbers) and NAME.md (caption and source)."""
    notices, source = "; ".join(drawing.notices), drawing.source
    with canvas.panels(*drawing.shape) as (figure, axes):
        drawing.draw(axes)
        figure.tight_layout()
        if drawing.label:
            drawing.label(axes)
        written = canvas.save(figure, directory / drawing.name, source=source, suffixes=suffixes)
    text = f"![{drawing.name}]({drawing.name}.png)\n\n{drawing.text}\n\n{source}\n"
    columns = (*drawing.columns, "notices", "source")
    rows = [(*row, notices, source) for row in drawing.rows]
    for suffix, content in ((".csv", comma_separated(columns, rows)), (".md", text)):
        path = directory / (drawing.name + suffix)
        write_text(path, content)
        written.append(path)
    return written
