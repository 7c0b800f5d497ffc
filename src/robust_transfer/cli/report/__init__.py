"""rt-report: an index of runs, the study's tables and figures, and checks of what was measured."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from robust_transfer.cli.completion import parser_words
from robust_transfer.cli.errors import command
from robust_transfer.cli.parser import Parser
from robust_transfer.cli.report import browse, export, study, verify, zoo
from robust_transfer.cli.report.options import add_options

EPILOG = """\
examples:
  rt-report runs                          every run of the store, with its key
  rt-report table quickstart              the quickstart's table in Markdown; .md, .csv, .tex in runs/report/
  rt-report table 2 --source published    the study's own numbers, in the same form
  rt-report figure curve KEY KEY          certified-accuracy curves of two models
  rt-report compare KEY KEY               paired tests of two models on the same images
"""
COMMANDS = (*browse.COMMANDS, *study.COMMANDS, *verify.COMMANDS, *export.COMMANDS, *zoo.COMMANDS)


def _words(before: list[str], current: str) -> Iterable[str]:
    if current.startswith("-") or (before and before[-1].startswith("-")):
        return parser_words(_parser(), before, current)
    return (*parser_words(_parser(), before, current), *_names(before))


def _names(before: list[str]) -> Iterable[str]:
    """Return what can stand behind a command: names, or the keys of the store in runs/."""
    from robust_transfer.report.output.analyses.names import ANALYSES
    from robust_transfer.report.study import registry
    from robust_transfer.store import directories

    match before:
        case ["table"]:
            return registry.tables()
        case ["figure"]:
            return study.figure_names()
        case ["analysis"]:
            return ANALYSES
        case ["show" | "verify" | "export"] | ["compare", *_] | ["figure", "curve" | "top-class", *_]:
            return (stage.key for stage in directories.scan("runs"))
    return ()


@command("rt-report", _words)
def main(argv: Sequence[str] | None = None) -> int:
    """Run rt-report."""
    parser = _parser()
    if not argv:
        parser.print_help()
        return 0
    arguments = parser.parse_args([f"--{word}" if word.startswith("store=") else word for word in argv])
    run = next(entry.run for entry in COMMANDS if entry.name == arguments.command)
    return run(arguments)


def _parser() -> Parser:
    shared = Parser(add_help=False)
    add_options(shared, default=argparse.SUPPRESS)
    parser = Parser(
        "rt-report", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    add_options(parser, default=None)
    actions = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for entry in COMMANDS:
        made = actions.add_parser(entry.name, help=entry.help, description=entry.help, parents=[shared])
        entry.add_arguments(made)
    return parser
