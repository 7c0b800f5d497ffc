"""rt-report runs, show: what a store holds."""

from __future__ import annotations

import argparse

from robust_transfer.cli.report.options import (
    Command,
    add_json,
    add_key,
    index_of,
    show_json,
    store_of,
)


def runs(arguments: argparse.Namespace) -> int:
    """List every evaluation and training stage."""
    from robust_transfer.report.index.frames import run_row
    from robust_transfer.report.output.listing import runs_text

    index = index_of(arguments)
    if arguments.json:
        show_json([run_row(run) for run in index.runs])
        return 0
    print(runs_text(index), end="")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Tell everything that is known of one stage."""
    from robust_transfer.report.output.listing import show_text, stage_lines
    from robust_transfer.store import directories

    index = index_of(arguments)
    stage = directories.find(store_of(arguments), arguments.key)
    if arguments.json:
        show_json(dict(stage_lines(stage, index)))
        return 0
    print(show_text(stage, index), end="")
    return 0


def _add_show(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    add_json(parser)


COMMANDS = (
    Command("runs", "list every evaluation and training stage of a store", runs, add_json),
    Command("show", "tell everything that is known of one stage", show, _add_show),
)
