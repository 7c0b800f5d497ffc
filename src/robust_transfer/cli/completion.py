"""Shell completion of the four commands: `eval "$(COMMAND -sc install=bash)"` (or zsh, fish)."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from robust_transfer.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from robust_transfer.config.explain import Value

# A completed value may go on (finetune. -> finetune.lr=), so that no blank is set behind it.
BASH = """\
_{name}_words() {{
    COMPREPLY=($(COMP_LINE="${{COMP_LINE:0:$COMP_POINT}}" {program} -sc query=bash 2>/dev/null))
}}
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
complete -o nospace -o default -F _{name}_words {program}
"""
SCRIPTS = {
    "bash": BASH,
    "zsh": "autoload -U +X bashcompinit && bashcompinit\n" + BASH,
    "fish": "complete -c {program} -a '(COMP_LINE=(commandline -cp) {program} -sc query=fish)'\n",
}


# (words before the one that is typed, what is typed of it) -> what it can become
Offers = Callable[[list[str], str], Iterable[str]]


def answer(program: str, arguments: Sequence[str], offers: Offers) -> int:
    """Print a shell's script (install=SHELL), or the words that $COMP_LINE can go on with (query=SHELL)."""
    request = arguments[0].partition("=")[2] or " ".join(arguments[1:2])
    action, _, shell = request.partition("=")
    if action not in ("install", "query") or shell not in SCRIPTS:
        raise ConfigError(
            f"-sc {request} is no completion (expected install=SHELL)",
            f"-sc install=bash; {did_you_mean(shell, SCRIPTS)}",
        )
    if action == "install":
        print(SCRIPTS[shell].format(program=program, name=program.replace("-", "_")), end="")
        return 0
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    current = "" if not words or line.endswith(" ") else words.pop()
    print("\n".join(sorted({word for word in offers(words[1:], current) if word.startswith(current)})))
    return 0


def override_words(config_name: str, before: list[str], current: str) -> Iterable[str]:
    """Offer flags, keys a level at a time, and behind a = what the key can be, also behind a comma."""
    from robust_transfer.cli.arguments import FLAGS
    from robust_transfer.cli.shipped import conf_directory
    from robust_transfer.config.evaluators import evaluators
    from robust_transfer.config.explain import all_values
    from robust_transfer.config.run import EvaluateConfig, TrainConfig

    if current.startswith("-"):
        return FLAGS[config_name]
    if before and before[-1] == "--explain":
        return (value.path for value in all_values(conf_directory()))
    from robust_transfer.cli import compose

    key, equals, given = current.partition("=")
    with compose.hydra_session(f"rt-{config_name}", None):
        if equals:
            options = compose.group_options(key) or _choices(key)
            begun = given.rpartition(",")[0]
            return (f"{key}={begun}{',' if begun else ''}{option}" for option in options)
        groups = [f"{group}=" for group in (*compose.groups(), "hydra/launcher")]
    owner = TrainConfig if config_name == "train" else EvaluateConfig
    heads = {*(field.name for field in dataclasses.fields(owner)), *evaluators()}
    values = [v for v in all_values(conf_directory()) if v.path.split(".")[0] in heads and _fits(v, before)]
    return (*groups, *(_next_level(value.path, current) for value in values))


def _fits(value: Value, before: list[str]) -> bool:
    """Tell whether what was chosen before has a value: `finetune=cr` has a sigma, `finetune=at` has none."""
    chosen = dict(word.split("=", 1) for word in before if "=" in word)
    of = [choice.partition("=") for choice in value.of]
    return not of or any(chosen.get(group, name) == name for group, _, name in of)


def _choices(key: str) -> tuple[str, ...]:
    from robust_transfer.cli.shipped import conf_directory
    from robust_transfer.config.explain import all_values

    same = [value for value in all_values(conf_directory()) if value.path == key]
    choices = [choice for value in same for choice in value.choices]
    return tuple(choices) or tuple(["true", "false"] if any(v.type == "true or false" for v in same) else ())


def _next_level(path: str, current: str) -> str:
    """Cut a dotted name behind the level that is being typed: `finetune.` or, a level on, `finetune.lr=`."""
    level = current.count(".") + 1
    parts = path.split(".")
    return ".".join(parts[:level]) + ("." if len(parts) > level else "=")


def parser_words(parser: argparse.ArgumentParser, before: list[str], current: str) -> Iterable[str]:
    """Offer the commands of a parser; behind one, its options; behind an option, what it can be."""
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    command = next((word for word in before if word in subparsers.choices), None)
    options = (subparsers.choices[command] if command else parser)._option_string_actions
    if before and before[-1] in options and options[before[-1]].nargs != 0:
        return options[before[-1]].choices or ()
    if current.startswith("-"):
        return options
    return () if command else subparsers.choices
