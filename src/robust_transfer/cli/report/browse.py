"""rt-report runs, show: what a store holds."""

from __future__ import annotations

import argparse

from robust_transfer.cli.report.options import Command, add_key, index_of, store_of


def runs(arguments: argparse.Namespace) -> int:
    """List every evaluation and training stage."""
    from robust_transfer.report.output.listing import runs_text

    print(runs_text(index_of(arguments)), end="")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Tell everything that is known of one stage."""
    from robust_transfer.report.output.listing import show_text
    from robust_transfer.store import directories

    index = index_of(arguments)
    print(show_text(directories.find(store_of(arguments), arguments.key), index), end="")
    return 0


COMMANDS = (
    Command("runs", "list every evaluation and training stage of a store", runs),
    Command("show", "tell everything that is known of one stage", show, add_key),
)
