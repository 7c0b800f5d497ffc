"""The verdicts on the study's claims as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence

from robust_transfer.report.index.collect import Run
from robust_transfer.report.index.environments import ORIGIN, origin_of
from robust_transfer.report.output.formats import comma_separated, page
from robust_transfer.report.study import notes
from robust_transfer.report.study.blocks import Grid, Paragraph
from robust_transfer.report.study.claims import AGREES, DIFFERS, INCONCLUSIVE, UNKNOWN, Verdict

COLUMNS = ("claim", "published", "value", "low", "high", "verdict", "detail", "notices")


def grid(verdicts: Sequence[Verdict]) -> Grid:
    """Return the claims as a grid."""
    rows = tuple(
        (
            v.claim,
            f"{v.published:g}",
            _text(v, v.value),
            _text(v, v.low),
            _text(v, v.high),
            v.verdict,
            v.detail,
            "; ".join(v.notices),
        )
        for v in verdicts
    )
    return Grid(COLUMNS, rows, notes=3)


def to_markdown(verdicts: Sequence[Verdict], source: str, runs: Sequence[Run]) -> str:
    """Write the claims as a Markdown table."""
    words = (AGREES, DIFFERS, INCONCLUSIVE, UNKNOWN)
    counted = ", ".join(f"{sum(v.verdict == word for v in verdicts)} {word}" for word in words)
    origin = notes.origin(runs) if source == "runs" else ("source: the study's published tables",)
    return page([grid(verdicts), Paragraph((counted,)), Paragraph(origin, small=True)])


def _text(verdict: Verdict, value: float | None) -> str:
    if value is None:
        return ""
    return (
        f"{value:.2f}"
        if "_r2" in verdict.claim
        else f"{value:g}"
        if "all_sets" in verdict.claim
        else f"{value:.1f}"
    )


def to_csv(verdicts: Sequence[Verdict], runs: Sequence[Run]) -> str:
    """Write the claims in full precision, with what they came from."""
    origin = origin_of(runs)
    rows = [[*(getattr(v, name) for name in COLUMNS[:-1]), "; ".join(v.notices), *origin] for v in verdicts]
    return comma_separated((*COLUMNS, *ORIGIN), rows)
