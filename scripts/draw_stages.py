"""Draw docs/stages.svg: the stages of a run and what each key is made of.

python scripts/draw_stages.py [FILE]     (default: docs/stages.svg; the ending chooses the format)
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

TARGET = Path(__file__).resolve().parents[1] / "docs" / "stages.svg"
WIDTH, HEIGHT = 24.0, 6.4  # of a box; the drawing is 107 by 54
COLORS = {"pretrain": "#dbe9f6", "finetune": "#e0f0dc", "eval": "#fdebd0", "report": "#eeeeee"}
LEFT = {"pretrain": 1.0, "finetune": 28.0, "eval": 55.0, "report": 82.0}
BOXES = {
    "pretrain": [(34.5, "cr on imagenet", "model.safetensors")],
    "finetune": [
        (44.0, "cr on pets, seed 0", "model.safetensors"),
        (34.5, "cr on pets, seed 1", "model.safetensors"),
        (25.0, "cr on dtd, seed 0", "model.safetensors"),
    ],
    "eval": [
        (44.0, "certify on pets", "records.csv"),
        (34.5, "certify on pets", "records.csv"),
        (25.0, "certify on dtd", "records.csv"),
    ],
    "report": [(34.5, "rt-report table 3", "mean ± over seeds, intervals")],
}
TITLES = {
    "pretrain": "pretrain/",
    "finetune": "finetune/",
    "eval": "eval/",
    "report": "report/",
}
KEYS = {
    "pretrain": """key = sha256 of
method, its seed and recipe version
model and normalisation
source data's identity""",
    "finetune": """key = sha256 of
method, seed and recipe version
model
target data's identity, shots
key of the pre-training""",
    "eval": """key = sha256 of
evaluator and its settings
test data's identity
image size
key of the fine-tuning""",
    "report": """no key: computed again
from records whenever asked,
with the keys it used
written below it""",
}


def main() -> int:
    plt.rcParams.update({"svg.hashsalt": "stages", "font.size": 9, "font.family": "DejaVu Sans"})
    figure = plt.figure(figsize=(10.6, 5.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 107), ylim=(4, 58))
    axes.axis("off")
    for column, boxes in BOXES.items():
        draw_column(axes, column, boxes)
    for bottom, _, _ in BOXES["finetune"]:
        arrow(axes, "pretrain", BOXES["pretrain"][0][0], "finetune", bottom)
        arrow(axes, "finetune", bottom, "eval", bottom)
        arrow(axes, "eval", bottom, "report", BOXES["report"][0][0])
    axes.text(
        53.5,
        5.2,
        "In no key: devices, workers, compile, logging, save interval, paths.   "
        "Same key = same directory = computed once.",
        ha="center",
        va="bottom",
        style="italic",
    )
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata, dpi=150)
    print(path)
    return 0


def draw_column(axes: Axes, column: str, boxes: list[tuple[float, str, str]]) -> None:
    """Draw a column: its directory, its boxes (bottom edge, title, file), what its key is made of."""
    left, middle = LEFT[column], LEFT[column] + WIDTH / 2
    axes.text(middle, 54.5, TITLES[column], ha="center", family="DejaVu Sans Mono", weight="bold", size=11)
    for bottom, title, file in boxes:
        axes.add_patch(
            FancyBboxPatch(
                (left + 0.6, bottom + 0.6),
                WIDTH - 1.2,
                HEIGHT - 1.2,
                boxstyle="round,pad=0.6",
                facecolor=COLORS[column],
                edgecolor="#555555",
                linewidth=0.8,
            )
        )
        axes.text(middle, bottom + 4.4, title, ha="center", va="center", weight="bold")
        family = "DejaVu Sans" if column == "report" else "DejaVu Sans Mono"
        axes.text(middle, bottom + 1.9, file, ha="center", va="center", size=8, family=family)
    axes.text(middle, 20.5, KEYS[column], ha="center", va="top", linespacing=1.5, color="#222222")


def arrow(axes: Axes, start: str, bottom: float, end: str, target: float) -> None:
    """Draw an arrow from the right edge of a box to the left edge of another."""
    points = (LEFT[start] + WIDTH, bottom + HEIGHT / 2), (LEFT[end], target + HEIGHT / 2)
    axes.add_patch(
        FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=10, color="#555555", linewidth=0.9)
    )


if __name__ == "__main__":
    sys.exit(main())
