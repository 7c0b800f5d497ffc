"""rt-data: what is on disk of the data sets, is it right, where does the rest come from."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from robust_transfer.cli.completion import parser_words
from robust_transfer.cli.errors import command, report_user_error
from robust_transfer.cli.parser import Parser
from robust_transfer.core.errors import DataError
from robust_transfer.data import catalogue

DEFAULT_ROOT = "data/"
Action = Callable[[list[str], str, argparse.Namespace], int]
SHOWN = 20  # unreadable images of a set that are named


def _words(before: list[str], current: str) -> Iterable[str]:
    return (*parser_words(_parser(), before, current), *(catalogue.names() if before else ()))


@command("rt-data", _words)
def main(argv: Sequence[str] | None = None) -> int:
    """Run `rt-data status|check|fetch|import|try|cache [D ...]`."""
    arguments = _parser().parse_args(argv)
    names = arguments.datasets
    for name in names:
        catalogue.get(name)  # a misspelt name is an error before anything is printed
    root = arguments.root or os.environ.get("RT_DATA") or DEFAULT_ROOT
    act = ACTIONS[arguments.action][0]
    return act(names, root, arguments)


def _parser() -> Parser:
    parser = Parser(prog="rt-data", description=__doc__)
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="|".join(ACTIONS), parser_class=Parser
    )
    for action, (_, text, number, options) in ACTIONS.items():
        sub = actions.add_parser(action, help=text, description=text)
        sub.add_argument("datasets", nargs=number, metavar="D", help=", ".join(catalogue.names()))
        for option in ("--root", *options):
            sub.add_argument(option, **OPTIONS[option])
    return parser


def _partition(name: str, arguments: argparse.Namespace) -> int | None:
    return arguments.partition if catalogue.get(name).partitions else None


def _status(names: list[str], root: str, arguments: argparse.Namespace) -> int:
    from robust_transfer.data.status import describe, line, status

    states = (
        status(name, root, partition=_partition(name, arguments))
        for name in names or [name for name in catalogue.names() if name != "imagefolder"]
    )
    if arguments.json:
        print(json.dumps([one.values() for one in states], indent=2))
        return 0
    print(f"data root: {root}")
    width = shutil.get_terminal_size().columns
    for state in states:
        print(describe(state, width) if names or state.state == "partial" else line(state))
    if not names:
        print("terms, and what to do: rt-data status NAME; to get a set: rt-data fetch NAME")
    return 0


def _check(names: list[str], root: str, arguments: argparse.Namespace) -> int:
    from robust_transfer.data.check import unreadable_images

    def check(name: str) -> None:
        looked_at, problems = unreadable_images(
            name,
            root,
            partition=_partition(name, arguments),
            verify=arguments.verify,
            num_workers=arguments.workers,
        )
        for problem in problems[:SHOWN]:
            print(problem)
        if len(problems) > SHOWN:
            print(f"... and {len(problems) - SHOWN:,} more")
        print(f"{name}: {looked_at - len(problems):,} of {looked_at:,} images are whole")
        if problems:
            raise DataError(
                f"images of {name} that cannot be read: {len(problems):,} (listed above)",
                "delete them, and restore them from the archive: rt-data fetch",
                "or leave them out, counted and listed: rt-train ... data.on_error=skip",
            )

    return _each(names, check)


def _each(names: list[str], act: Callable[[str], None]) -> int:
    """Do it for every set, whatever happens with the others; the last error is the command's."""
    errors = []
    for name in names:
        try:
            act(name)
        except DataError as error:
            errors.append(error)
    for earlier in errors[:-1]:
        report_user_error("rt-data", earlier)
    if errors:
        raise errors[-1]
    return 0


def _import(names: list[str], root: str, arguments: argparse.Namespace) -> int:
    from robust_transfer.data.importing import import_set
    from robust_transfer.data.status import describe, status

    (name,) = names
    import_set(name, root, arguments.origin, copy=arguments.copy)
    print(describe(status(name, root)))
    return 0


def _cache(names: list[str], root: str, arguments: argparse.Namespace) -> int:
    from robust_transfer.data import open_dataset
    from robust_transfer.data.cache import AUTO, cached
    from robust_transfer.data.images import FileImages

    def cache(name: str) -> None:
        options = {"partition": _partition(name, arguments), "verify": arguments.verify}
        dataset = open_dataset(name, root, "train", **options)
        if not isinstance(dataset.reader, FileImages):
            print(
                f"{name}: its {len(dataset):,} training images are decoded already: they are held in memory"
            )
            return
        done = cached(dataset, root, arguments.folder or AUTO, build=True) is not dataset
        print(f"{name}: {len(dataset):,} training images {'are' if done else 'are not'} kept decoded")

    return _each(names, cache)


def _try(names: list[str], root: str, arguments: argparse.Namespace) -> int:
    """Train a tiny network for a few steps on real images and certify a few."""
    from robust_transfer.cli import train

    with tempfile.TemporaryDirectory(prefix="rt-data-try-") as store:
        where = (f"data.root={root}", f"data.verify={str(arguments.verify).lower()}", f"store={store}")
        return max(train.main([f"dataset={name}", *TINY_RUN, *where]) for name in names)


def _fetch(names: list[str], root: str, arguments: argparse.Namespace) -> int:
    from robust_transfer.data.fetch import fetch

    return _each(names, lambda name: fetch(name, root))


# name: what runs, what it does, how many sets, options
ACTIONS: dict[str, tuple[Action, str, str | int, tuple[str, ...]]] = {
    "status": (
        _status,
        "one line per set: ok, partial or missing, images found / expected, size, terms",
        "*",
        ("--partition", "--json"),
    ),
    "check": (
        _check,
        "open and decode every image; exit 2 if a set is not whole",
        "+",
        ("--partition", "--no-verify", "--workers"),
    ),
    "fetch": (
        _fetch,
        "download what can be downloaded, say where the rest goes, unpack what is there",
        "+",
        (),
    ),
    "import": (
        _import,
        "lay out, by links, a set that lies in another layout: class folders, a copy, parquet",
        1,
        ("--from", "--copy"),
    ),
    "try": (
        _try,
        "a minute of training and certification on real images, in a store that is thrown away",
        "+",
        ("--no-verify",),
    ),
    "cache": (
        _cache,
        "decode the training images once, for all epochs and runs to come",
        "+",
        ("--partition", "--no-verify", "--folder"),
    ),
}
TINY_RUN = (
    "pretrain=none",
    "finetune=cr",
    "finetune.max_steps=5",
    "finetune.batch_size=16",
    "model=resnet18_small",
    "model.width=8",
    "model.image_size=64",
    "certify.subset=8",
    "certify.n=100",
    "data.cache=off",
)
OPTIONS: dict[str, dict[str, Any]] = {
    "--root": {"help": "folder with all sets (default: $RT_DATA, else data/)"},
    "--partition": {"type": int, "help": "official partition of sun397 and dtd (default: 1)"},
    "--json": {"action": "store_true", "help": "the same for a program"},
    "--no-verify": {"dest": "verify", "action": "store_false", "help": "take what is there of a partial set"},
    "--workers": {"type": int, "help": "processes that decode (default: one a core)"},
    "--from": {
        "dest": "origin",
        "required": True,
        "metavar": "PATH",
        "help": "folder, archive or parquet file",
    },
    "--copy": {"action": "store_true", "help": "copy the files (default: link to them)"},
    "--folder": {"help": "where to (default: decoded/ below the root); data.cache=DIR reads from there"},
}


if __name__ == "__main__":
    sys.exit(main(None))
