"""One static page of tables, figures, curves, flags and cost; each number is linked to its stage."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run, commits
from robust_transfer.report.index.environments import environments
from robust_transfer.report.output import curves, drawings, figures, shots
from robust_transfer.report.output.claims import grid as claims_grid
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.output.findings import parts
from robust_transfer.report.output.overview import QUESTION, overview_grid
from robust_transfer.report.study import claims, findings, natural, notes, registry, tables
from robust_transfer.report.study.blocks import Block, Bullets, Code, Grid, Heading, Paragraph
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import (
    change_text,
    interval_text,
    metric_text,
    model_text,
)

STYLE, SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
)
MAX_CURVES = 7  # one colour each
RUNS = ' class="runs"'  # sorted and searched by page.js
CODE = re.compile(r"`([^`]+)`")
SCOPE = ' scope="col"'


def page(index: Index, directory: Path) -> str:
    """Return the page; figures are written to `directory` too, which its links are relative to."""
    built = {name: tables.build(name, "runs", index) for name in registry.tables()}
    filled = {name: table for name, table in built.items() if table.ordered}
    sections = [("found", "What was found", f"<p>{QUESTION}</p>\n{_grid(overview_grid(filled))}")]
    sections += [
        (name, tables.title(table), _table_section(table, directory)) for name, table in filled.items()
    ]
    sections += _figure_sections(index, filled, directory)
    if results := findings.findings({name: built[name] for name in natural.NAMES}):
        sentences: list[Block] = [Paragraph((findings.INTERVALS,)), *parts(results)]
        title = "Findings: the study on real photographs in sentences"
        sections.insert(1, ("findings", title, "".join(map(_block, sentences))))
    if any(table.spec.improves_all for table in filled.values()):
        title = "Claims: the study's sentences with a number, from these runs"
        verdicts = claims.verdicts(claims.tables_needed("runs", index))
        sections.append(("claims", title, _grid(claims_grid(verdicts))))
    sections.append(("flags", "Flags and marks", _flags(index, directory)))
    sections.append(("runs", "Every evaluation", _runs(index, directory)))
    links = "\n".join(f'<a href="#{name}">{escape(title.split(":")[0])}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(title)}</h2>\n{content}</section>\n'
        for name, title, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Robust transfer: report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{_head(index)}"
        f'<div class="columns">\n<nav aria-label="Sections">{links}</nav>\n<main>{body}</main>\n</div>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _head(index: Index) -> str:
    """Return the title, the counts, the newest evaluation, and its versions and hardware."""
    counts = (len(index.runs), len(index.unfinished), len(index.smoke))
    lines = ["{} evaluations, {} unfinished, {} smoke runs left out".format(*counts)]
    if finished := [run.finished for run in index.runs if run.finished is not None]:
        lines += [f"newest evaluation: {datetime.fromtimestamp(max(finished), UTC):%Y-%m-%d}"]
    if index.runs:
        lines += [f"made with {'; '.join(environments(index.runs))}; commit {', '.join(commits(index.runs))}"]
    return f"<header><h1>Robust transfer: report</h1>\n<p>{'<br>'.join(map(escape, lines))}</p></header>\n"


# ---------------------------------------------------------------- tables


def _table_section(table: Table, directory: Path) -> str:
    layout = table.spec.arrangement.layout(table.cells)
    headers = _row([*layout.labels, *(column.header for column in layout.columns)], len(layout.labels), "th")
    symbols = notes.symbols(table.ordered)
    rows = []
    for label, cells in layout.rows:
        values = [
            _cell(table.results.get(cells[c.group]), c.metric, symbols, directory) for c in layout.columns
        ]
        rows.append(_row([*map(escape, label), *values], len(label)))
    parts = [
        f"<p>{escape(tables.caption(table))} "
        "Under each number: its 95 % interval, and its difference to no pre-training (points; ACR: L2).</p>",
        _table(headers, rows, tables.title(table)),
        _grid(tables.cost_grid(table)),
        *map(_block, tables.footer(table)),
    ]
    return "\n".join(parts) + "\n"


def _cell(result: Result | None, metric: str, symbols: dict[str, str], directory: Path) -> str:
    if result is None or metric not in result.estimates:
        return "–"
    estimate, change = result.estimates[metric], result.differences.get(metric)
    spread = "" if estimate.deviation is None else f" ± {metric_text(metric, estimate.deviation)}"
    marks = "".join(dict.fromkeys(symbols[notice] for notice in result.notices))
    text = _link(result.runs[0], f"{metric_text(metric, estimate.value)}{spread}{marks}", directory)
    links = (
        [_link(run, str(i), directory) for i, run in enumerate(result.runs, start=1)]
        if len(result.runs) > 1
        else []
    )
    seeds = f" <sup>{' '.join(links)}</sup>" if links else ""
    interval = f"<small>{interval_text(metric, estimate.low, estimate.high)}</small>"
    if change is None:
        return text + seeds + interval
    kind, arrow = ("fall", "▼ ") if change.value < 0 else ("rise", "")
    return f'{text}{seeds}{interval}<small class="{kind}">{arrow}{change_text(metric, change)}</small>'


def _link(run: Run, text: str, directory: Path) -> str:
    target = Path(os.path.relpath(run.path / "summary.json", directory)).as_posix()
    return f'<a href="{escape(target)}" title="{run.key}">{escape(text)}</a>'


def _row(cells: Sequence[str], labels: int, tag: str = "td") -> str:
    parts = (
        f"<{tag}{SCOPE if tag == 'th' else ''}{' class=label' if i < labels else ''}>{cell}</{tag}>"
        for i, cell in enumerate(cells)
    )
    return f"<tr>{''.join(parts)}</tr>\n"


def _table(header: str, rows: Iterable[str], name: str, kind: str = "") -> str:
    """Return a table that is scrolled sideways where it is too wide, by the keyboard too."""
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{escape(name)}"><table{kind}>'
        f"<thead>{header}</thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Grid():
            return _grid(block)
        case Heading():
            return f"<h3>{escape(block.text)}</h3>"
        case Paragraph():
            text = f"<p>{'<br>'.join(map(_text, block.lines))}</p>"
            return _folded("Origin: commit, versions, stages", text) if block.small else text
        case Bullets():
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in block.items)}</ul>"
        case Code():
            return f'<pre tabindex="0">{escape(chr(10).join(block.lines))}</pre>'


def _text(line: str) -> str:
    """Return running text, with what stands in backticks as code."""
    return CODE.sub(r"<code>\1</code>", escape(line))


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _grid(grid: Grid) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="label"' if grid.is_left(i) else "" for i in range(len(cells)))
        scope = SCOPE if tag == "th" else ""
        parts = (
            f"<{tag}{scope}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)
        )
        return f"<tr>{''.join(parts)}</tr>\n"

    title = f"<h3>{escape(grid.title)}</h3>\n" if grid.title else ""
    rows = (line(row, "td") for row in grid.rows)
    return title + _table(line(grid.headers, "th"), rows, grid.title or "numbers")


# ---------------------------------------------------------------- figures and the rest


def _figure_sections(index: Index, filled: dict[str, Table], directory: Path) -> list[tuple[str, str, str]]:
    drawn: list[tuple[str, str, Drawing]] = []
    for name, table in filled.items():
        if table.spec.figure and any(result.gains for result in table.ordered):
            title = f"Figure {name}: gains in robustness on gains in accuracy"
            drawn.append((f"figure-{name}", title, figures.figure(table)))
    for name, runs in _curve_runs(filled).items():
        drawn.append(
            (
                f"curve-{name.replace(' ', '-')}",
                f"Curve {name}: certified accuracy against radius",
                curves.curve_figure(runs),
            )
        )
    with suppress(EvaluationError):  # a store without few-shot runs has no such figure
        drawn.append(("shots", "Shots: accuracy against the number of labels", shots.shots_figure(index)))
    return [(name, title, _image(title, drawing, directory)) for name, title, drawing in drawn]


def _curve_runs(filled: dict[str, Table]) -> dict[str, list[Run]]:
    """Return the first seed of every certified model, by target, where radii are numbers."""
    groups: dict[str, list[Run]] = {}
    seen: set[Cell] = set()
    for table in filled.values():
        for result in table.ordered:
            run = result.runs[0]
            # Without noise every radius is 0.
            if run.cell.sigma and "acr" in run.spec.measured(run.settings) and result.cell not in seen:
                seen.add(result.cell)
                groups.setdefault(run.cell.target, []).append(run)
    return {name: runs[:MAX_CURVES] for name, runs in groups.items()}


def _image(title: str, drawing: Drawing, directory: Path) -> str:
    path = drawings.write_vector(drawing, directory)
    data = base64.b64encode(path.read_bytes()).decode()
    # Two panels side by side are scrolled on a phone: shrunk to its width they could not be read.
    size = f"min-width: {20 * drawing.shape[1]}rem; max-width: {34 * drawing.shape[1]}rem"
    image = f'<img style="{size}" src="data:image/svg+xml;base64,{data}" alt="{escape(title)}">'
    origin = _folded("Origin: commit, versions, stages", f"<p>{escape(drawing.source)}</p>")
    return (
        f'<figure><div class="wide"><a href="{escape(path.name)}">{image}</a></div>\n'
        f"<figcaption>{escape(drawing.text)}{origin}</figcaption></figure>\n"
    )


def _flags(index: Index, directory: Path) -> str:
    rows = [
        _row([_link(run, run.key, directory), escape(run.cell.target), escape(text)], 3)
        for run in index.runs
        for text in run.notices
    ]
    if not rows:
        return "<p>No evaluation has a flag or a mark.</p>\n"
    return _table(_row(["stage", "data set", "what"], 3, "th"), rows, "flags", RUNS)


def _runs(index: Index, directory: Path) -> str:
    headers = ["evaluator", "data set", "model", "seed", "n", *TITLES.values(), "stage", "commit"]
    rows = [_row(_run_cells(run, directory), 3) for run in index.runs]
    return _table(_row(headers, 3, "th"), rows, "every evaluation", RUNS)


def _run_cells(run: Run, directory: Path) -> list[str]:
    values: Iterable[str] = (metric_text(metric, run.metrics.get(metric)) for metric in TITLES)
    seed = run.lineage.seed
    place = (run.evaluator, run.cell.target, model_text(run.lineage), "–" if seed is None else str(seed))
    link = _link(run, run.key, directory)
    return [*map(escape, place), str(run.num_images), *values, link, escape(run.commit)]
