"""What rt-train and rt-eval share: help, Hydra's own queries, composing, messages."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from robust_transfer.cli.arguments import Arguments, parse
from robust_transfer.config.evaluators import evaluators
from robust_transfer.core.errors import ConfigError
from robust_transfer.data.once import reading_once
from robust_transfer.distributed.environment import is_first_process


def say(text: str) -> None:
    """Tell the user how a run goes, on stderr: stdout holds results alone."""
    if is_first_process():
        print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a result; of several processes only the first does."""
    if is_first_process():
        print(text)


def main(
    program: str,
    config_name: str,
    argv: Sequence[str],
    *,
    help_text: Callable[[], str],
    rewrite: Callable[[list[str]], list[str]],
    action: Callable[[Arguments, list[str]], int],
) -> int:
    """Answer help and queries, else hand the arguments and overrides to `action`."""
    arguments = parse(argv)
    if arguments.help and arguments.overrides[:1] and arguments.overrides[0] in evaluators():
        arguments = dataclasses.replace(arguments, help=False, explain=arguments.overrides[0])
    if arguments.help:
        print(help_text())
        return 0
    if arguments.explain:
        from robust_transfer.cli.shipped import conf_directory
        from robust_transfer.config.explain import explain

        print(explain(arguments.explain, conf_directory()))
        return 0
    if arguments.query:
        # Hydra's own parser takes overrides in one piece only, before its flags.
        flags = [word for word in argv if word not in arguments.overrides]
        overrides = list(arguments.overrides)
        if overrides and "=" not in overrides[0]:  # rt-eval's first word
            overrides = rewrite(overrides)
            arguments = dataclasses.replace(arguments, overrides=tuple(overrides))
        return _hydra_query(program, config_name, flags, arguments)
    with reading_once():
        return action(arguments, rewrite(list(arguments.overrides)))


def _hydra_query(program: str, config_name: str, flags: list[str], arguments: Arguments) -> int:
    """Let Hydra print a config or its search path, after our own check of the overrides."""
    from hydra import main as hydra_main

    from robust_transfer.cli.compose import checked_overrides, hydra_session
    from robust_transfer.cli.shipped import conf_directory

    with hydra_session(program, arguments.config_dir):
        overrides = checked_overrides(list(arguments.overrides))
    answer = hydra_main(config_path=str(conf_directory()), config_name=config_name, version_base="1.3")
    messages = io.StringIO()
    try:
        with _argv([program, *overrides, *flags]), redirect_stderr(messages):
            answer(_nothing)()
    except SystemExit as left:
        if left.code:
            raise ConfigError(_heart_of(messages.getvalue()), f"{program} --help") from None
    print(messages.getvalue(), end="", file=sys.stderr)
    return 0


def _heart_of(text: str) -> str:
    """Return the line of Hydra's words that says what is wrong: after its usage, or its first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["Hydra refused the command"]
    return next((line.split(": error: ")[1] for line in lines if ": error: " in line), lines[0])


def _nothing(_: object) -> None:
    """Run no job: Hydra answers the query before it gets here."""


@contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    saved = sys.argv
    sys.argv = [sys.argv[0], *words[1:]]
    try:
        yield
    finally:
        sys.argv = saved


def group_help(groups: Sequence[tuple[str, str]]) -> str:
    """List config groups with their choices, read from the shipped configs and those of other packages."""
    from robust_transfer.cli.shipped import conf_directory, data_sets
    from robust_transfer.core.extensions import config_folders

    roots = [conf_directory(), *config_folders().values()]
    lines = []
    for group, meaning in groups:
        files = {name for root in roots for name in _choices(root / group)}
        names = sorted(files | set(data_sets(group)))
        if not names:
            raise ConfigError(f"no configs in {roots[0] / group}")
        lines.append(f"  {group}=NAME{'':<{max(1, 12 - len(group))}}{meaning}")
        lines.extend(_wrapped(names, indent=6, width=78))
    return "\n".join(lines)


def _choices(folder: Path) -> list[str]:
    from robust_transfer.cli.shipped import PARTS

    return [
        str(path.relative_to(folder).with_suffix(""))
        for path in folder.rglob("*.yaml")
        if not path.stem.startswith("_") and path.parent.name not in PARTS
    ]


def _wrapped(names: Sequence[str], *, indent: int, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(", ".join(names), width, initial_indent=" " * indent, subsequent_indent=" " * indent)
