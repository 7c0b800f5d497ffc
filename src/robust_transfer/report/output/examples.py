"""Images of an evaluation as one picture: as they are, as they were changed, and the change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robust_transfer.core.files import write_text
from robust_transfer.report.index.collect import Run
from robust_transfer.report.output import canvas

Images = npt.NDArray[np.float32]  # (N, C, H, W)
SIZE, LABEL = 1.25, 0.22  # inches of an image, and of the words above it
FONT = 6.5


def write_examples(
    run: Run,
    directory: Path,
    *,
    what: str,
    indices: Sequence[int],
    images: Images,
    changed: Images,
    said: tuple[Sequence[str], Sequence[str]],
) -> list[Path]:
    """Write examples-KEY.png, .pdf and .md: a column an image.

    what : what `changed` are
    said : the words above each image, and above each changed one
    """
    difference = changed - images
    largest = max(float(np.abs(difference).max()), 1e-12)
    rows = [(images, said[0]), (changed, said[1]), (0.5 + difference / (2 * largest), [""] * len(images))]
    name = f"examples-{run.key}"
    source = f"commit {run.commit}; stage {run.key}"
    with canvas.panels(3, len(images), width=SIZE, height=SIZE + LABEL) as (figure, axes):
        figure.subplots_adjust(0.01, 0.01, 0.99, 1 - LABEL / (3 * (SIZE + LABEL)), 0.04, 0.2)
        for row, (shown, words) in enumerate(rows):
            for column, (image, text) in enumerate(zip(shown, words, strict=True)):
                axis = axes[row * len(images) + column]
                axis.imshow(np.clip(image, 0, 1).transpose(1, 2, 0), interpolation="nearest")
                axis.set_title(text, fontsize=FONT, y=1.0, pad=2)
                axis.set_axis_off()
        written = canvas.save(figure, directory / name, source=source)
    caption = (
        f"Test images {', '.join(map(str, indices))} of {run.cell.target}: the image, the {what}, and their "
        f"difference around grey, {1 / (2 * largest):.3g} times as large; shown within [0, 1]. "
        f"{run.settings_line}."
    )
    page = directory / f"{name}.md"
    write_text(page, f"![{name}]({name}.png)\n\n{caption}\n\n{source}\n")
    return [*written, page]
