"""A figure's definition, and the files that are written of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from robust_transfer.core.files import write_text
from robust_transfer.report.index.collect import Run, commits
from robust_transfer.report.index.environments import environments
from robust_transfer.report.output import canvas
from robust_transfer.report.output.formats import comma_separated
from robust_transfer.report.study import notes


@dataclass(frozen=True)
class Drawing:
    """A figure's panels, its caption, its data and where they come from.

    draw, label : called with the list of axes; `label` when they have their final place
    columns, rows : the plotted numbers
    runs : where they come from; none for published numbers
    tags : those of the figure, beside the tags and warnings of its runs
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
        return " ".join([self.caption, *(f"Notice: {notice}." for notice in notes.merged(self.notices))])

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
    written = _draw(drawing, directory, suffixes, drawing.source)
    return [*written, *_write_texts(drawing, directory, written[0])]


def write_vector(drawing: Drawing, directory: Path) -> Path:
    """Write NAME.svg, NAME.csv and NAME.md; a picture of the same content by the same code is kept."""
    path = directory / f"{drawing.name}.svg"
    content = hashlib.sha256(_code())
    content.update(repr((drawing.rows, drawing.text, drawing.source)).encode())
    mark = content.hexdigest()
    if not (path.is_file() and mark in path.read_text(encoding="utf-8")):
        _draw(drawing, directory, (".svg",), f"{drawing.source}; content {mark}")
    _write_texts(drawing, directory, path)
    return path


@cache
def _code() -> bytes:
    """Return what draws: the modules of this folder, and matplotlib's version."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return version("matplotlib").encode() + b"".join(module.read_bytes() for module in modules)


def _draw(drawing: Drawing, directory: Path, suffixes: Sequence[str], source: str) -> list[Path]:
    with canvas.panels(*drawing.shape) as (figure, axes):
        drawing.draw(axes)
        canvas.lay_out(figure, axes, *drawing.shape)
        if drawing.label:
            drawing.label(axes)
        return canvas.save(figure, directory / drawing.name, source=source, suffixes=suffixes)


def _write_texts(drawing: Drawing, directory: Path, picture: Path) -> list[Path]:
    notices, source = "; ".join(drawing.notices), drawing.source
    written = []
    text = f"![{drawing.name}]({picture.name})\n\n{drawing.text}\n\n{source}\n"
    columns = (*drawing.columns, "notices", "source")
    rows = [(*row, notices, source) for row in drawing.rows]
    for suffix, content in ((".csv", comma_separated(columns, rows)), (".md", text)):
        path = directory / (drawing.name + suffix)
        write_text(path, content)
        written.append(path)
    return written
