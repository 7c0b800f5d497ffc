"""rt-report verify: every number of an evaluation, recomputed; some samples drawn again."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path

from robust_transfer.cli.report.options import Command, add_key, evaluation, index_of
from robust_transfer.core.errors import ConfigError, UserError

DEFAULT_REDRAW = 3


def verify(arguments: argparse.Namespace) -> int:
    """Recompute an evaluation; exit 2 if a number differs."""
    from robust_transfer.evaluation.recompute import to_text, verify

    run = evaluation(arguments, arguments.key, index_of(arguments))
    findings = verify(run.path, run.summary)
    print(to_text(run.path, findings), end="", flush=True)
    differences = list(findings.differences)
    blocks = DEFAULT_REDRAW if arguments.redraw is None else arguments.redraw
    if blocks < 0:
        raise ConfigError(f"--redraw {blocks} (expected 0 or more)")
    if run.spec.redraw and run.spec.noise_sigma(run.settings) and blocks:
        try:
            differences += _redraw(arguments, run.path, blocks)
        except UserError as error:
            if arguments.redraw is not None:
                raise
            # Not asked for by name: what was recomputed stands without it.
            print(f"nothing redrawn: {error.what}")
    return 2 if differences else 0


def _redraw(arguments: argparse.Namespace, stage: Path, blocks: int) -> list[str]:
    # Drawing again needs the model, the images and torch; everything before needs none of them.
    from robust_transfer.config.data import DataConfig
    from robust_transfer.evaluation.redraw import redraw, to_text

    root = arguments.root or os.environ.get("RT_DATA") or "data/"
    data = DataConfig(root=root, verify=True, on_error="stop")
    # Other units each time, which nobody can know when the journal is written.
    redrawn = redraw(stage, blocks=blocks, seed=secrets.randbits(32), data=data)
    print(to_text(redrawn), end="")
    print("".join(f"  {line}\n" for line in redrawn.findings.differences), end="")
    return list(redrawn.findings.differences)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument(
        "--redraw",
        metavar="K",
        type=int,
        help=f"journalled units of a certification to draw again, 0: none (default: {DEFAULT_REDRAW})",
    )
    parser.add_argument(
        "--root", metavar="DIR", help="folder with all data sets (default: $RT_DATA, else data/)"
    )


COMMANDS = (
    Command(
        "verify",
        "recompute every number of an evaluation, draw some samples again; exit 2 if one differs",
        verify,
        _add_arguments,
    ),
)
