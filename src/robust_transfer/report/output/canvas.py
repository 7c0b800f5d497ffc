"""Matplotlib figures written so that two runs give equal bytes: no dates, no versions, no display."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robust_transfer.core.files import atomic_path

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)  # readable without colour vision
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "robust-transfer",
    "svg.fonttype": "none",  # text stays text: drawn fast, and by the reader's own fonts
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "standard",
}
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))  # distinguishable in grey
LEFT, RIGHT, BOTTOM, TOP = 0.72, 0.12, 0.5, 0.14  # inches around a panel
LINE, TITLE = 0.18, 0.26  # inches of an entry of the legend, and of a title
METHODS = ("none", "at", "cr", "simclr", "st")  # methods that have the same style in every figure


def style_at(position: int) -> dict[str, Any]:
    """Return the colour, marker and line of the n-th curve."""
    styles = {"color": COLORS, "marker": MARKERS, "linestyle": LINES}
    return {name: values[position % len(values)] for name, values in styles.items()}


def styles_of(methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return a style for each of some models: their pre-training's where these differ."""
    if len(set(methods)) == len(methods):
        return [style_of(method) for method in methods]
    return [style_at(position) for position in range(len(methods))]


def style_of(method: str) -> dict[str, Any]:
    """Return the style of a pre-training: grey without one."""
    if method == "none":
        return {"color": "#555555", "marker": "o", "linestyle": ":"}
    return style_at(METHODS.index(method) - 1 if method in METHODS else len(METHODS) - 1)


def legend(axis: Any) -> None:
    """Put a legend above a panel, where no point, line or error bar can be."""
    handles, names = axis.get_legend_handles_labels()
    marks = [getattr(handle, "lines", [handle])[0] for handle in handles]  # without their error bars
    columns = 1 if len(names) < 3 else 2
    axis.legend(marks, names, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.3)


def lay_out(figure: Any, axes: Sequence[Any], rows: int, columns: int) -> None:
    """Leave every panel the same room for its labels, its legend and its title.

    To measure them, as matplotlib's own layouts do, takes as long as to draw them.
    """
    width, height = figure.get_size_inches() / (columns, rows)
    entries = max((len(axis.get_legend().get_texts()) for axis in axes if axis.get_legend()), default=0)
    above = LINE * (entries if entries < 3 else math.ceil(entries / 2))
    top = TOP + above + (TITLE if any(axis.get_title() for axis in axes) else 0)
    for place, axis in enumerate(axes):
        row, column = divmod(place, columns)
        x, y = column + LEFT / width, rows - 1 - row + BOTTOM / height
        size = 1 - (LEFT + RIGHT) / width, 1 - (BOTTOM + top) / height
        axis.set_position((x / columns, y / rows, size[0] / columns, size[1] / rows))
        axis.set_title(axis.get_title(), y=1.0, pad=4 + 72 * above)  # without y matplotlib measures all axes


@contextmanager
def panels(
    rows: int, columns: int, *, width: float = 4.6, height: float = 3.9
) -> Iterator[tuple[Any, list[Any]]]:
    """Yield (figure, axes) of a grid of panels, each `width` x `height` inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot, whose backend and list of figures are the process's: a notebook goes on drawing inline.
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows))
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


PRINTED = (".png", ".pdf")


def save(figure: Any, path: Path, *, source: str, suffixes: Sequence[str] = PRINTED) -> list[Path]:
    """Write a figure in one form or several, with its source in the files' metadata."""
    named: dict[str, dict[str, str | None]] = {
        ".png": {"Software": None, "Description": source},
        ".svg": {"Date": None, "Creator": None, "Description": source},
        ".pdf": {"Creator": None, "Producer": None, "CreationDate": None, "Keywords": source},
    }
    written = []
    for suffix in suffixes:
        target = path.with_name(path.name + suffix)
        with atomic_path(target) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=named[suffix])
        written.append(target)
    return written
