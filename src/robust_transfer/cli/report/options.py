"""What the commands of rt-report share: their form, their options and what these mean."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.core.errors import ConfigError, EvaluationError

if TYPE_CHECKING:
    from robust_transfer.config.data import DataConfig
    from robust_transfer.report.index.collect import Index, Run


def _none(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


@dataclass(frozen=True)
class Command:
    """A command of rt-report."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _none


def add_options(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """Add the options of all commands; `default` argparse.SUPPRESS keeps what stands before the command."""
    parser.add_argument("--store", metavar="DIR", default=default, help="the runs' root (default: runs)")
    parser.add_argument(
        "--source",
        choices=("runs", "published"),
        default=default,
        help="our runs (default) or the published numbers",
    )
    parser.add_argument(
        "--out", metavar="DIR", default=default, help="where files go (default: STORE/report)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the choice of what a program can read."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def show_json(values: object) -> None:
    """Print JSON; what has no word there is written as text."""
    print(json.dumps(values, indent=2, default=str))


def csv_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV text by the names of its columns."""
    return list(csv.DictReader(text.splitlines()))


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add the key of a stage."""
    parser.add_argument("key", metavar="KEY", help="a stage's key, or its first digits")


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add where the images are."""
    parser.add_argument(
        "--root", metavar="DIR", help="folder with all data sets (default: $RT_DATA, else data/)"
    )


def data_of(arguments: argparse.Namespace, run: Run) -> DataConfig:
    """Return where the images of an evaluation are.

    Its fingerprint tells whether they are those that were measured, whole or in part; an older one has none.
    """
    from robust_transfer.config.data import DataConfig

    root = arguments.root or os.environ.get("RT_DATA") or "data/"
    return DataConfig(root=root, verify=run.fingerprint is None, on_error="stop")


def store_of(arguments: argparse.Namespace) -> Path:
    """Return the runs' root."""
    return Path(arguments.store or "runs")


def source_of(arguments: argparse.Namespace) -> str:
    """Return `runs` or `published`."""
    return str(arguments.source or "runs")


def index_of(arguments: argparse.Namespace) -> Index:
    """Index the store."""
    from robust_transfer.report.index.collect import collect

    root = store_of(arguments)
    if source_of(arguments) == "runs" and not root.is_dir():
        raise ConfigError(
            f"store={root} does not exist (expected a directory with runs)",
            "rt-train experiment=quickstart makes one; --store DIR names another",
        )
    return collect(root)


def evaluation(arguments: argparse.Namespace, key: str, index: Index) -> Run:
    """Return the finished evaluation that a key names."""
    from robust_transfer.store import directories

    stage = directories.find(store_of(arguments), key)
    run = next((r for r in (*index.runs, *index.smoke, *index.changed) if r.path == stage.path), None)
    if run is None:
        raise EvaluationError(
            f"{stage.path.name} is not a finished evaluation ({stage.kind}, {stage.state()})",
            "rt-report runs",
        )
    return run


def directory_of(arguments: argparse.Namespace) -> Path:
    """Return the directory that files go to, which exists."""
    directory = Path(arguments.out) if arguments.out else store_of(arguments) / "report"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {directory} cannot be written ({error.strerror})", "--out DIR") from error
    return directory


def write(arguments: argparse.Namespace, files: Mapping[str, str]) -> None:
    """Write files and say so."""
    from robust_transfer.core.files import write_text

    directory = directory_of(arguments)
    for name, text in files.items():
        write_text(directory / name, text)
    say_written([directory / name for name in files])


def say_written(paths: Sequence[Path]) -> None:
    """Name the files that were written, on stderr."""
    names = ", ".join(path.name for path in paths)
    print(f"wrote {names} in {paths[0].parent}", file=sys.stderr)
