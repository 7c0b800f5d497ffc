"""The command line of rt-train and rt-eval: our own flags, Hydra's flags, overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.nearest import MEANT

# Flags that Hydra answers itself, without running anything.
HYDRA_QUERIES = (
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--hydra-help",
    "--package",
    "-p",
    "--resolve",
)
SHARED_FLAGS = (
    "--help",
    "--version",
    "--store",
    "--explain",
    "--plan",
    "--multirun",
    "--config-dir",
    "--cfg",
    "--info",
    "--shell-completion",
)
FLAGS = {"train": (*SHARED_FLAGS, "--json", "--measure"), "evaluate": SHARED_FLAGS}


@dataclass(frozen=True)
class Arguments:
    """A command line, taken apart."""

    json: bool = False

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
        if overrides and (word[0:1] == "=" or (overrides[-1].endswith("=") and "=" not in word)):
            whole = overrides[-1].rstrip("=") + "=" + (word.lstrip("=") or next(words, "VALUE"))
            raise ConfigError(f"'{overrides[-1]} {word}' has a blank at its = (expected key=value)", whole)
        if word in ("--help", "-h"):
            values["help"] = True
        elif word in ("--plan", "--measure", "--json"):
            values[word[2:]] = True
        elif name == "--store":
            overrides.append(f"store={inline or next(words, '')}")
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
            raise ConfigError(f"{name} is not a flag", _instead(name, inline or next(words, "")))
        else:
            overrides.append(word)
    return Arguments(overrides=tuple(overrides), **values)  # type: ignore[arg-type]


# What other tools call what has another flag here.
OTHER_FLAGS = {
    "--plan": ("--dry-run", "--dryrun", "--dry", "-n", "--check", "--simulate"),
    "--version": ("-V", "-v"),
    "--cfg job": ("--config", "--show-config", "--print-config"),
    "--multirun": ("--sweep",),
    "runtime.devices=N": ("--gpus", "--devices", "--num-gpus"),
}


def _instead(flag: str, following: str) -> str:
    """Say what a flag that does not exist would be here: another flag, or a value, which has no dashes."""
    for ours, theirs in OTHER_FLAGS.items():
        if flag in theirs:
            return f"did you mean {ours}?"
    plain = flag.lstrip("-").replace("-", "_")
    if flag.startswith("--") and (key := _key_of(plain)):
        value = following if following and not following.startswith("-") else "VALUE"
        return f"values have no dashes: {key}={value}"
    return did_you_mean(flag, FLAGS["train"])


def _key_of(word: str) -> str | None:
    """Return what a word is as the key of an override: a group, a dotted name, or the end of one."""
    from robust_transfer.config.evaluators import evaluators
    from robust_transfer.config.methods import FINETUNE, PRETRAIN
    from robust_transfer.config.run import EvaluateConfig, TrainConfig
    from robust_transfer.config.schema import below

    owners = [("", TrainConfig), ("", EvaluateConfig), *evaluators().items()]
    owners += [("finetune", cls) for cls in FINETUNE.values()] + [
        ("pretrain", cls) for cls in PRETRAIN.values()
    ]
    paths = [
        *(path for group, cls in owners for path in below(cls, group)),
        *evaluators(),
        "experiment",
        "cell",
    ]
    if word in paths:
        return word
    meant = MEANT.get(word.replace("_", ""), word)
    ends = [path for path in paths if path.rpartition(".")[2] == meant]
    return min(ends, key=lambda path: (not path.startswith("finetune."), path.count("."))) if ends else None
