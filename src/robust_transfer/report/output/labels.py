"""Names beside points, placed so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FONT = 6.0  # points
WIDTH, HEIGHT = 0.6 * FONT, 1.15 * FONT  # of a character, about
GAP = 3.5
Box = tuple[float, float, float, float]  # left, bottom, right, top, in points


def place(axis: Any, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Annotate (x, y, text, color) points of an axis whose limits are final.

    Each name takes, in order, the first of the places around its point that covers least.
    """
    scale = 72 / axis.figure.dpi
    pixels = axis.transData.transform([(x, y) for x, y, _, _ in points]) * scale
    taken: list[Box] = [(a - 3, b - 3, a + 3, b + 3) for a, b in pixels]
    frame = axis.get_window_extent()
    bounds = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    for (x, y, text, color), (a, b) in zip(points, pixels, strict=True):
        offsets = _offsets(WIDTH * len(text))
        boxes = [(a + dx, b + dy, a + dx + WIDTH * len(text), b + dy + HEIGHT) for dx, dy in offsets]
        costs = [sum(_overlap(box, other) for other in taken) + _outside(box, bounds) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        far = best >= 8  # beyond the first ring a line tells whose name it is
        axis.annotate(
            text,
            (x, y),
            offsets[best],
            textcoords="offset points",
            fontsize=FONT,
            color=color,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3},
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": color} if far else None,
        )


def _offsets(width: float) -> list[tuple[float, float]]:
    """Return the lower left corners of a name around its point, nearest first, eight per ring."""
    offsets = []
    for gap in (GAP, 4 * GAP, 8 * GAP):
        right, left, above, below = gap, -gap - width, gap, -gap - HEIGHT
        middle = -HEIGHT / 2 + 1
        offsets += [(right, middle), (left, middle), (-width / 2, above), (-width / 2, below)]
        offsets += [(right, above - 1), (left, above - 1), (right, below + 1), (left, below + 1)]
    return offsets


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, bounds: Box) -> float:
    excess = max(0.0, bounds[0] - box[0], bounds[1] - box[1], box[2] - bounds[2], box[3] - bounds[3])
    return 10 * excess
