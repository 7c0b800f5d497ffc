"""The command line of rt-train and rt-eval: our own flags, Hydra's flags, overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust_transfer.core.errors import ConfigError, did_you_mean

# Flags that Hydra answers itself, without running anything.
HYDRA_QUERIES = (
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
    "--hydra-help",
    "--package",
    "-p",
    "--resolve",
)
FLAGS = (
    "--help",
    "--explain",
    "--plan",
    "--measure",
    "--multirun",
    "--config-dir",
    "--cfg",
    "--info",
    "--shell-completion",
)


@dataclass(frozen=True)
class Arguments:
    """A command line, taken apart."""

    overrides: tuple[str, ...] = ()
    help: bool = False
    plan: bool = False
    measure: bool = False
    multirun: bool = False
    config_dir: str | None = None
    explain: str | None = None
    query: bool = False


def parse(argv: Sequence[str]) -> Arguments:
    """Take a command line apart, or raise ConfigError with the nearest flag."""
    values: dict[str, object] = {}
    overrides: list[str] = []
    words = iter(argv)
    for word in words:
        name, _, inline = word.partition("=")
        if word in ("--help", "-h"):
            values["help"] = True
        elif word in ("--plan", "--measure"):
            values[word[2:]] = True
        elif word in ("--multirun", "-m"):
            values["multirun"] = True
        elif name == "--explain":
            values["explain"] = inline or next(words, "")
            if not values["explain"]:
                raise ConfigError("--explain names no value", "--explain finetune.lr, or a group: finetune")
        elif name in ("--config-dir", "-cd"):
            values["config_dir"] = inline or next(words, "")
            if not values["config_dir"]:
                raise ConfigError(f"{name} names no directory", f"{name} DIR")
        elif name in HYDRA_QUERIES:
            values["query"] = True
            if not inline and name not in ("--hydra-help", "--resolve"):
                next(words, None)
        elif word.startswith("-"):
            raise ConfigError(f"{word} is not a flag", did_you_mean(name, FLAGS))
        else:
            overrides.append(word)
    return Arguments(overrides=tuple(overrides), **values)  # type: ignore[arg-type]
