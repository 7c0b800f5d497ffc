"""Two stores of the same stages as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence

from robust_transfer.report.index.cells import TITLES
from robust_transfer.report.index.collect import Index
from robust_transfer.report.index.environments import environment_of, environments
from robust_transfer.report.output.formats import comma_separated, page
from robust_transfer.report.study.blocks import Grid, Heading, Paragraph, bullets
from robust_transfer.report.study.rerun import Pair, Rerun, change, reruns, shared

COLUMNS = (
    "evaluation", "dataset", "shots", "pretrain", "finetune", "metric", "here", "there", "difference",
    "notices", "made_with_here", "made_with_there", "commit_here", "commit_there",
)  # fmt: skip
SAYS = (
    "Reproduction sd: the standard deviation of one run about what all runs of its key would give, from the "
    "differences of pairs. Beside it that of redrawing seeds: where the first is not far below the second, "
    "another machine acts as another seed, and a table must not be finer than that."
)


def rerun_files(first: Index, second: Index) -> dict[str, str]:
    """Return the files of `rt-report compare --rerun DIR`."""
    pairs = shared(first, second)
    notices = sorted({notice for pair in pairs for run in pair for notice in run.notices})
    made_with = [
        f"{name}: {'; '.join(environments(pair[side] for pair in pairs))}"
        for side, name in enumerate(("here", "there"))
    ]
    text = page(
        [
            Heading(f"{len(pairs)} evaluations that ran twice"),
            _grid(reruns(pairs)),
            Paragraph((SAYS,)),
            *bullets(notices),
            Paragraph(tuple(made_with), small=True),
        ]
    )
    return {"rerun.md": text, "rerun.csv": _csv(pairs)}


def _grid(metrics: Sequence[Rerun]) -> Grid:
    rows = []
    for rerun in metrics:
        scale, digits = (1.0, 3) if rerun.metric == "acr" else (100.0, 1)

        def text(value: float | None, scale: float = scale, digits: int = digits) -> str:
            return "–" if value is None else f"{scale * value:.{digits}f}"

        interval = f"{text(rerun.deviation)} [{text(rerun.low)}, {text(rerun.high)}]"
        mean = f"{scale * rerun.mean:+.{digits}f}"
        counts = (str(rerun.evaluations), str(rerun.equal), f"{100 * rerun.images:.1f}")
        rows.append((TITLES[rerun.metric], *counts, mean, text(rerun.largest), interval, text(rerun.seeds)))
    headers = (
        "metric", "evaluations", "equal", "images that differ, %", "mean difference", "largest",
        "reproduction sd [95 %]", "sd over seeds",
    )  # fmt: skip
    return Grid(headers, tuple(rows), 1, "SA, RA in points, ACR in L2; here minus there")


def _csv(pairs: Sequence[Pair]) -> str:
    rows: list[list[object]] = []
    for one, other in pairs:
        cell = one.cell
        origin = (*map(environment_of, (one, other)), one.commit, other.commit)
        notices = "; ".join(dict.fromkeys((*one.notices, *other.notices)))
        for metric in TITLES:
            if one.metrics.get(metric) is not None and other.metrics.get(metric) is not None:
                place = (one.key, cell.dataset, cell.shots, cell.pretrain, cell.finetune, metric)
                values = (one.metrics[metric], other.metrics[metric], change((one, other), metric))
                rows.append([*place, *values, notices, *origin])
    return comma_separated(COLUMNS, rows)
