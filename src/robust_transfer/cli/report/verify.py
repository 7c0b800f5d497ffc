"""rt-report verify: every number of an evaluation, recomputed; some of it measured again."""

from __future__ import annotations

import argparse
import secrets
from typing import TYPE_CHECKING

from robust_transfer.cli.report.options import (
    Command,
    add_key,
    add_root,
    data_of,
    evaluation,
    index_of,
)
from robust_transfer.core import named
from robust_transfer.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from robust_transfer.config.data import DataConfig
    from robust_transfer.report.index.collect import Run

DEFAULT_REDRAW = 3


def verify(arguments: argparse.Namespace) -> int:
    """Recompute an evaluation; exit 2 if a number differs."""
    from robust_transfer.evaluation.recompute import labels_on_disk, to_text, verify

    run = evaluation(arguments, arguments.key, index_of(arguments))
    data = data_of(arguments, run)
    labels = labels_on_disk(run.path, data)
    if labels is None:
        print("the test set is not at hand: labels and the choice of images are taken as the records say")
    findings = verify(run.path, labels=labels)
    print(to_text(run.path.name, findings), end="", flush=True)
    differences = list(findings.differences)
    blocks = DEFAULT_REDRAW if arguments.redraw is None else arguments.redraw
    if blocks < 0:
        raise ConfigError(f"--redraw {blocks} (expected 0 or more)")
    if run.spec.redraw and blocks:
        try:
            differences += _redraw(run, data, blocks)
        except UserError as error:
            if arguments.redraw is not None:
                raise
            # Not asked for by name: what was recomputed stands without it.
            print(f"nothing redrawn: {error.what}")
    return 2 if differences else 0


def _redraw(run: Run, data: DataConfig, blocks: int) -> list[str]:
    # Measuring again needs the model and the images; everything before needs neither.
    from robust_transfer.evaluation.redraw import to_text

    assert run.spec.redraw is not None
    # Others each time, which nobody can know when the journal is written.
    again = named.load(run.spec.redraw)(run.path, blocks=blocks, seed=secrets.randbits(32), data=data)
    print(to_text(again), end="")
    print("".join(f"  {line}\n" for line in again.findings.differences), end="")
    return list(again.findings.differences)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument(
        "--redraw",
        metavar="K",
        type=int,
        help="units of a certification to draw again, or images to attack again; 0: none "
        f"(default: {DEFAULT_REDRAW})",
    )
    add_root(parser)


COMMANDS = (
    Command(
        "verify",
        "recompute every number of an evaluation, measure some of it again; exit 2 if one differs",
        verify,
        _add_arguments,
    ),
)
