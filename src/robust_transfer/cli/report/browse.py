"""rt-report runs, show: what a store holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from robust_transfer.cli.report.options import (
    Command,
    add_json,
    add_key,
    add_root,
    data_of,
    directory_of,
    evaluation,
    index_of,
    say_written,
    show_json,
    store_of,
)
from robust_transfer.core import named
from robust_transfer.core.errors import ConfigError

if TYPE_CHECKING:
    from robust_transfer.report.index.collect import Run

MOST_IMAGES = 32


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
    if arguments.picture is not None:
        return _picture(arguments, evaluation(arguments, arguments.key, index))
    if arguments.json:
        show_json(dict(stage_lines(stage, index)))
        return 0
    print(show_text(stage, index), end="")
    return 0


def _picture(arguments: argparse.Namespace, run: Run) -> int:
    """Draw images of an evaluation beside what it put in their place."""
    if run.spec.examples is None:
        raise ConfigError(f"{run.evaluator} changes no images (expected an attack or certificates)")
    if not 0 < arguments.picture <= MOST_IMAGES:
        raise ConfigError(f"--picture {arguments.picture} (expected 1 to {MOST_IMAGES} images)")
    # Only pictures need the model and the images.
    from robust_transfer.report.output.examples import write_examples

    found = named.load(run.spec.examples)(run.path, count=arguments.picture, data=data_of(arguments, run))
    images, changed = found.images.numpy(), found.changed.numpy()
    said = (found.said_before, found.said_after)
    directory = directory_of(arguments)
    say_written(
        write_examples(
            run, directory, what=found.what, indices=found.indices, images=images, changed=changed, said=said
        )
    )
    return 0


def _add_show(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    add_json(parser)
    parser.add_argument(
        "--picture",
        metavar="N",
        type=int,
        nargs="?",
        const=8,
        help="draw N images (default: 8) beside their adversarial images or noisy copies",
    )
    add_root(parser)


COMMANDS = (
    Command("runs", "list every evaluation and training stage of a store", runs, add_json),
    Command("show", "tell everything that is known of one stage", show, _add_show),
)
