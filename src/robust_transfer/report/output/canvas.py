"""Matplotlib figures written so that two runs give equal bytes: no dates, no versions, no display."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
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
    "pdf.fonttype": 42,
    "svg.hashsalt": "robust-transfer",
    "figure.dpi": 100,
    "savefig.dpi": 160,
}
CAPTION_COLUMNS = 17  # characters of a caption per inch of a figure's width


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


def arrange(figure: Any, caption: str) -> None:
    """Print a caption under a figure and give the panels their final place."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, max(40, int(width * CAPTION_COLUMNS)))
    margin = 0.125 * len(lines) + 0.08
    figure.set_size_inches(width, height + margin)
    figure.tight_layout(rect=(0, margin / (height + margin), 1, 1))
    figure.text(0.012, 0.006, "\n".join(lines), fontsize=7.5, color="#333333", va="bottom", ha="left")


def save(figure: Any, path: Path, *, source: str) -> list[Path]:
    """Write a figure as PNG and PDF, with its source in both files' metadata."""
    written = []
    for suffix, metadata in (
        (".png", {"Software": None, "Description": source}),
        (".pdf", {"Creator": None, "Producer": None, "CreationDate": None, "Keywords": source}),
    ):
        target = path.with_name(path.name + suffix)
        with atomic_path(target) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=metadata)
        written.append(target)
    return written
