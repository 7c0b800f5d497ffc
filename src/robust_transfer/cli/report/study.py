"""rt-report table, figure, claims, findings, compare, html: the study's questions, answered from records."""

from __future__ import annotations

import argparse
from pathlib import Path

from robust_transfer.cli.report.options import (
    Command,
    add_json,
    csv_rows,
    directory_of,
    evaluation,
    index_of,
    say_written,
    show_json,
    source_of,
    write,
)
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.report.output.analyses.names import ANALYSES


def table(arguments: argparse.Namespace) -> int:
    """Print a table and write it in three formats."""
    from robust_transfer.report.output import tables as output
    from robust_transfer.report.study import registry, tables

    spec, source = registry.find(arguments.name.removeprefix("table")), source_of(arguments)
    if source == "published" and not spec.published:
        raise ConfigError(f"table {spec.name} has no published numbers", f"rt-report table {spec.name}")
    built = tables.build(spec.name, source, index_of(arguments))
    text, stem = output.to_markdown(built), output.file_name(built)
    if arguments.json:
        show_json(csv_rows(output.to_csv(built)))
        return 0
    print(text, end="")
    files = {f"{stem}.md": text, f"{stem}.csv": output.to_csv(built), f"{stem}.tex": output.to_latex(built)}
    write(arguments, files)
    return 0


def figure(arguments: argparse.Namespace) -> int:
    """Draw a figure; its caption is printed."""
    from robust_transfer.report.output import curves, drawings, figures, radii_curves, shots
    from robust_transfer.report.study import registry, tables

    name = arguments.name.removeprefix("figure")
    choices = figure_names()
    if name not in choices:
        raise ConfigError(
            f"figure '{name}' is not known (expected {', '.join(choices)})", did_you_mean(name, choices)
        )
    if (name in curves.QUANTITIES) != bool(arguments.keys):
        raise ConfigError(
            f"figure {name} takes one KEY or several"
            if name in curves.QUANTITIES
            else f"figure {name} takes no KEY",
            "rt-report figure curve KEY",
        )
    source = source_of(arguments)
    spec = registry.tables().get(name)
    if source == "published" and not (spec and spec.published):
        raise ConfigError(f"figure {name} has no published numbers", f"rt-report figure {name}")
    index = index_of(arguments)
    if name in curves.QUANTITIES:
        runs = [evaluation(arguments, key, index) for key in arguments.keys]
        drawing = curves.curve_figure(runs, curves.QUANTITIES[name])
    elif name == "eps":
        drawing = radii_curves.eps_figure(index)
    elif name == "shots":
        drawing = shots.shots_figure(index)
    else:
        drawing = figures.figure(tables.build(name, source, index))
    print(drawing.text)
    say_written(drawings.write(drawing, directory_of(arguments)))
    return 0


def figure_names() -> tuple[str, ...]:
    """Return the figures that can be drawn: those of tables, and those of runs."""
    from robust_transfer.report.study import registry

    return (
        *(spec.name for spec in registry.tables().values() if spec.figure),
        "curve",
        "top-class",
        "eps",
        "shots",
    )


def claims(arguments: argparse.Namespace) -> int:
    """Check every number in the study's text."""
    from robust_transfer.report.output import claims as output
    from robust_transfer.report.study import claims

    source, index = source_of(arguments), index_of(arguments)
    built = claims.tables_needed(source, index)
    found, behind = claims.verdicts(built), claims.runs_of(built)
    if arguments.json:
        show_json(csv_rows(output.to_csv(found, behind)))
        return 0
    text = output.to_markdown(found, source, behind)
    print(text, end="")
    suffix = "-published" if source == "published" else ""
    write(arguments, {"claims.csv": output.to_csv(found, behind), f"claims{suffix}.md": text})
    return 0


def findings(arguments: argparse.Namespace) -> int:
    """Say what the study on real photographs found."""
    from robust_transfer.report.output import findings as output
    from robust_transfer.report.study import findings, natural, tables

    if source_of(arguments) == "published":
        raise ConfigError("the study on real photographs has no published numbers", "rt-report findings")
    index = index_of(arguments)
    built = {name: tables.build(name, "runs", index) for name in natural.NAMES}
    found = findings.findings(built)
    text = output.to_markdown(found, built)
    print(text, end="")
    write(arguments, {"findings.md": text, "findings.csv": output.to_csv(found)})
    return 0


def analysis(arguments: argparse.Namespace) -> int:
    """Answer one question from the runs of a table, or from the published numbers."""
    from robust_transfer.report.output import drawings
    from robust_transfer.report.output.analyses import answer, registry

    question = answer.Question(index_of(arguments), source_of(arguments), tuple(arguments.table))
    found = registry.ask(arguments.name, question)
    written = answer.files(found)
    print(next(iter(written.values())), end="")
    write(arguments, written)
    if found.drawing:
        say_written(drawings.write(found.drawing, directory_of(arguments)))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Compare a store with the published numbers or with a rerun, or two evaluations with each other."""
    from robust_transfer.report.index.collect import collect
    from robust_transfer.report.output import compare, rerun

    index = index_of(arguments)
    if arguments.rerun and (arguments.keys or not Path(arguments.rerun).is_dir()):
        raise ConfigError(
            f"--rerun {arguments.rerun} takes another store, and no KEY", "rt-report compare --rerun DIR"
        )
    if len(arguments.keys) not in (0, 2):
        raise ConfigError(
            f"compare takes no KEY or two (found {len(arguments.keys)})", "rt-report compare KEY KEY"
        )
    if arguments.rerun:
        files = rerun.rerun_files(index, collect(arguments.rerun))
    elif arguments.keys:
        first, second = (evaluation(arguments, key, index) for key in arguments.keys)
        files = compare.pair_files(first, second)
    else:
        files = compare.store_files(index)
    print(next(iter(files.values())), end="")
    write(arguments, files)
    return 0


def html(arguments: argparse.Namespace) -> int:
    """Write one page of everything."""
    from robust_transfer.report.output.html import page

    directory = directory_of(arguments)
    write(arguments, {"index.html": page(index_of(arguments), directory)})
    return 0


def _add_table(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    names = (
        "2 to 5, quickstart, natural2 to 5, natural_long, natural_acr, natural_0071, natural_gpu, "
        "natural_weights, methods, methods_mini, or another package's"
    )
    parser.add_argument("name", metavar="N", help=names)


def _add_figure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="N", help="quickstart, 2, 3, natural2, natural3, curve, top-class, eps or shots"
    )
    parser.add_argument(
        "keys",
        metavar="KEY",
        nargs="*",
        help="certifications to draw (curve, top-class); runs of one model are averaged",
    )


def _add_analysis(parser: argparse.ArgumentParser) -> None:
    listed = "; ".join(f"{name}: {what}" for name, what in ANALYSES.items())
    parser.add_argument("name", metavar="NAME", help=listed)
    parser.add_argument("table", metavar="TABLE", nargs="*", help="of which table (default: as listed)")


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", metavar="KEY", nargs="*", help="two evaluations of the same images")
    parser.add_argument(
        "--rerun", metavar="DIR", help="another store of the same stages: what a rerun changes in each number"
    )


COMMANDS = (
    Command(
        "table",
        "quickstart, 2 to 5, natural2 to 5, methods: in Markdown, CSV and LaTeX",
        table,
        _add_table,
    ),
    Command(
        "figure",
        "quickstart, 2, 3, natural2, natural3, curve KEY, top-class KEY, eps or shots: as PNG and PDF",
        figure,
        _add_figure,
    ),
    Command("claims", "check every number in the study's text", claims, add_json),
    Command("findings", "what the study on real photographs found, in sentences with intervals", findings),
    Command("analysis", "one question answered: " + ", ".join(ANALYSES), analysis, _add_analysis),
    Command(
        "compare", "our numbers beside the published ones, with paired tests; or two KEYs", compare, _add_pair
    ),
    Command("html", "one static page of tables, figures, flags and cost", html),
)
