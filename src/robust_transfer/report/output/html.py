"""One static page of tables, figures, curves, flags and cost; each number is linked to its stage."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import Result
from robust_transfer.report.index.cells import TITLES, Cell
from robust_transfer.report.index.collect import Index, Run, commits
from robust_transfer.report.output import curves, drawings, figures, shots
from robust_transfer.report.output.claims import grid as claims_grid
from robust_transfer.report.output.drawings import Drawing
from robust_transfer.report.output.findings import parts
from robust_transfer.report.study import claims, findings, natural, notes, registry, tables
from robust_transfer.report.study.blocks import Block, Bullets, Code, Grid, Heading, Paragraph
from robust_transfer.report.study.tables import Table
from robust_transfer.report.study.wording import change_text, interval_text, metric_text, model_text

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #777; --fall: #c02020; --rise: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --soft: #aaa; --fall: #ff7b72; --rise: #56d364; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; } td.label, th.label { text-align: left; }
td a { white-space: nowrap; }
td small { display: block; color: var(--soft); white-space: nowrap; font-size: .75rem; }
small.fall { color: var(--fall); } small.rise { color: var(--rise); }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
code { overflow-wrap: anywhere; font-size: .85em; } pre { overflow-x: auto; font-size: .85rem; }
p, li { max-width: 60rem; } .soft { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
"""
MOST_CURVES = 7  # one colour each


def page(index: Index, directory: Path) -> str:
    """Return the page; figures are written to `directory` too, which its links are relative to."""
    built = {name: tables.build(name, "runs", index) for name in registry.tables()}
    found = {name: table for name, table in built.items() if table.ordered}
    sections = [
        (name, tables.title(table), _table_section(table, directory)) for name, table in found.items()
    ]
    sections += _figure_sections(index, found, directory)
    if results := findings.findings({name: built[name] for name in natural.NAMES}):
        said: list[Block] = [Paragraph((findings.INTERVALS,)), *parts(results)]
        title = "Findings: the study on real photographs in sentences"
        sections.append(("findings", title, "".join(map(_block, said))))
    if any(table.spec.improves_all for table in found.values()):
        title = "Claims: the study's sentences with a number, from these runs"
        verdicts = claims.verdicts(claims.tables_needed("runs", index))
        sections.append(("claims", title, _grid(claims_grid(verdicts))))
    sections.append(("flags", "Flags and marks", _flags(index, directory)))
    sections.append(("runs", "Every evaluation", _runs(index, directory)))
    links = "".join(f'<a href="#{name}">{escape(title.split(":")[0])}</a> ' for name, title, _ in sections)
    body = "".join(f'<h2 id="{name}">{escape(title)}</h2>\n{content}' for name, title, content in sections)
    counts = (len(index.runs), len(index.unfinished), len(index.smoke))
    head = "{} evaluations, {} unfinished, {} smoke runs left out".format(*counts)
    origin = f"commit: {escape(', '.join(commits(index.runs)) or 'none')}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Robust transfer: report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Robust transfer: report</h1>\n<p>{head}; {origin}</p>\n<nav>{links}</nav>\n"
        f"{body}</body>\n</html>\n"
    )


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
        f'<div class="wide"><table>{headers}{"".join(rows)}</table></div>',
        _grid(tables.cost_grid(table)),
        *map(_block, tables.footer(table)),
    ]
    return "\n".join(parts) + "\n"


def _cell(result: Result | None, metric: str, symbols: dict[str, str], directory: Path) -> str:
    if result is None or metric not in result.estimates:
        return "–"
    found, change = result.estimates[metric], result.differences.get(metric)
    spread = "" if found.deviation is None else f" ± {metric_text(metric, found.deviation)}"
    marks = "".join(symbols[notice] for notice in result.notices)
    text = _link(result.runs[0], f"{metric_text(metric, found.value)}{spread}{marks}", directory)
    more = (
        [_link(run, str(i), directory) for i, run in enumerate(result.runs, start=1)]
        if len(result.runs) > 1
        else []
    )
    seeds = f" <sup>{' '.join(more)}</sup>" if more else ""
    interval = f"<small>{interval_text(metric, found.low, found.high)}</small>"
    if change is None:
        return text + seeds + interval
    kind, arrow = ("fall", "▼ ") if change.value < 0 else ("rise", "")
    return f'{text}{seeds}{interval}<small class="{kind}">{arrow}{change_text(metric, change)}</small>'


def _link(run: Run, text: str, directory: Path) -> str:
    target = Path(os.path.relpath(run.path / "summary.json", directory)).as_posix()
    return f'<a href="{escape(target)}" title="{run.key}">{escape(text)}</a>'


def _row(cells: Sequence[str], labels: int, tag: str = "td") -> str:
    made = (f"<{tag}{' class=label' if i < labels else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
    return f"<tr>{''.join(made)}</tr>\n"


def _wide(headers: Sequence[str], labels: int, rows: Sequence[str]) -> str:
    return f'<div class="wide"><table>{_row(headers, labels, "th")}{"".join(rows)}</table></div>\n'


def _block(block: Block) -> str:
    match block:
        case Grid():
            return _grid(block)
        case Heading():
            return f"<h3>{escape(block.text)}</h3>"
        case Paragraph():
            kind = ' class="soft"' if block.small else ""
            return f"<p{kind}>{'<br>'.join(map(escape, block.lines))}</p>"
        case Bullets():
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</ul>"
        case Code():
            return f"<pre>{escape(chr(10).join(block.lines))}</pre>"


def _grid(grid: Grid) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="label"' if grid.is_left(i) else "" for i in range(len(cells)))
        made = (f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>\n"

    title = f"<h3>{escape(grid.title)}</h3>\n" if grid.title else ""
    rows = "".join(line(row, "td") for row in grid.rows)
    return f'{title}<div class="wide"><table>{line(grid.headers, "th")}{rows}</table></div>\n'


# ---------------------------------------------------------------- figures and the rest


def _figure_sections(index: Index, found: dict[str, Table], directory: Path) -> list[tuple[str, str, str]]:
    drawn: list[tuple[str, str, Drawing]] = []
    for name, table in found.items():
        if table.spec.figure and any(result.gains for result in table.ordered):
            title = f"Figure {name}: gains in robustness on gains in accuracy"
            drawn.append((f"figure-{name}", title, figures.figure(table)))
    for name, runs in _curve_runs(found).items():
        drawn.append(
            (
                f"curve-{name.replace(' ', '-')}",
                f"Curve {name}: certified accuracy against radius",
                curves.curve_figure(runs),
            )
        )
    with suppress(EvaluationError):  # a store without few-shot runs has no such figure
        drawn.append(("shots", "Shots: accuracy against the number of labels", shots.shots_figure(index)))
    return [(name, title, _image(drawing, directory)) for name, title, drawing in drawn]


def _curve_runs(found: dict[str, Table]) -> dict[str, list[Run]]:
    """Return the first seed of every certified model, by target, where radii are more than yes or no."""
    groups: dict[str, list[Run]] = {}
    seen: set[Cell] = set()
    for table in found.values():
        for result in table.ordered:
            run = result.runs[0]
            if "acr" in run.spec.measured(run.settings) and result.cell not in seen:
                seen.add(result.cell)
                groups.setdefault(run.cell.target, []).append(run)
    return {name: runs[:MOST_CURVES] for name, runs in groups.items()}


def _image(drawing: Drawing, directory: Path) -> str:
    written = drawings.write(drawing, directory, (".png",))
    png = next(path for path in written if path.suffix == ".png")
    data = base64.b64encode(png.read_bytes()).decode()
    # Two panels side by side are scrolled on a phone: shrunk to its width they could not be read.
    width = f"min-width: {20 * drawing.shape[1]}rem; max-width: 100%"
    image = f'<img style="{width}" src="data:image/png;base64,{data}" alt="{escape(drawing.name)}">'
    caption = f'<p class="soft">{escape(drawing.text)}<br>{escape(drawing.source)}</p>'
    return f'<div class="wide"><a href="{png.name}">{image}</a></div>\n{caption}\n'


def _flags(index: Index, directory: Path) -> str:
    rows = [
        _row([_link(run, run.key, directory), escape(run.cell.target), escape(text)], 3)
        for run in index.runs
        for text in run.notices
    ]
    if not rows:
        return "<p>No evaluation has a flag or a mark.</p>\n"
    return _wide(["stage", "data set", "what"], 3, rows)


def _runs(index: Index, directory: Path) -> str:
    headers = ["stage", "evaluator", "data set", "model", "seed", "n", *TITLES.values(), "commit"]
    rows = [_row(_run_cells(run, directory), 4) for run in index.runs]
    return _wide(headers, 4, rows)


def _run_cells(run: Run, directory: Path) -> list[str]:
    values: Iterable[str] = (metric_text(metric, run.metrics.get(metric)) for metric in TITLES)
    seed = run.lineage.seed
    place = (run.evaluator, run.cell.target, model_text(run.lineage), "–" if seed is None else str(seed))
    return [
        _link(run, run.key, directory),
        *map(escape, place),
        str(run.num_images),
        *values,
        escape(run.commit),
    ]
