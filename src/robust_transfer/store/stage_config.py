"""config.yaml of a stage: what it was computed from; written in this format, read in every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robust_transfer.config.data import DatasetConfig
from robust_transfer.config.evaluators import MODES, evaluators
from robust_transfer.config.methods import FINETUNE, PRETRAIN
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.plugins import load_methods
from robust_transfer.config.schedules import SCHEDULES
from robust_transfer.config.schema import parse, parse_choice
from robust_transfer.core.errors import ConfigError
from robust_transfer.store.provenance import commit_of
from robust_transfer.store.records import Lineage

NAME = "config.yaml"


@dataclass(frozen=True)
class StageConfig:
    """What a stage was computed from.

    config : TrainingConfig, CheckpointConfig or EvaluatorConfig, limits of the budget applied
    generated : images per split of a smoke run
    """

    kind: str
    key: str
    identity: dict[str, Any]
    config: Any
    model: ModelConfig
    dataset: DatasetConfig
    generated: int | None
    lineage: Lineage
    marks: tuple[str, ...]

    def to_yaml(self) -> str:
        """Return the text of config.yaml: plain values, which name no code."""
        values = {**dataclasses.asdict(self), "lineage": self.lineage.values(), "marks": list(self.marks)}
        text: str = yaml.safe_dump(values, sort_keys=True)
        return text


def read_stage_config(directory: Path) -> StageConfig:
    """Read what a stage of this or an older format was computed from.

    A field that was added since has the value that older stages are defined to have.

    Raises
    ------
    ConfigError : it cannot be read; names the commit that wrote it
    """
    try:
        return _parsed(_values(directory))
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = error.what if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        commit = commit_of(directory) or "unknown"
        raise ConfigError(
            f"{directory / NAME} cannot be read by this version ({' '.join(reason.split())})",
            f"it was written by commit {commit}, which can: git checkout {commit}",
        ) from error


def read_identity(directory: Path) -> dict[str, Any]:
    """Return what a stage's key was made of; {} where its config.yaml cannot be read."""
    try:
        identity = _values(directory)["identity"]
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return {}
    return identity if isinstance(identity, dict) else {}


def _values(directory: Path) -> Any:
    # The C loader is ten times faster, and a table reads hundreds of files.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((directory / NAME).read_text(encoding="utf-8"), loader)


def _parsed(values: Mapping[str, Any]) -> StageConfig:
    kind, identity, config = values["kind"], values["identity"], values["config"]
    if identity.get("format", 1) < 2:
        config = _from_format_1(config)
    if kind == "eval":
        parsed = evaluators()[identity["evaluator"]].parse(config, "config", stored=True)
    else:
        load_methods()
        classes = {"pretrain": PRETRAIN, "finetune": FINETUNE}[kind]
        parsed = parse_choice(classes, config, "config", stored=True)
    return StageConfig(
        kind=kind,
        key=values["key"],
        identity=identity,
        config=parsed,
        model=parse(ModelConfig, values["model"], "model", stored=True),
        dataset=parse(DatasetConfig, values["dataset"], "dataset", stored=True),
        generated=values["generated"],
        lineage=Lineage.read(values["lineage"]),
        marks=tuple(values["marks"]),
    )


def _from_format_1(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what did not count: format 1 had the fields of every schedule and mode in one class."""
    values = dict(config)
    if "schedule" in values:
        flat = {name: values.pop(name) for name in _names(*SCHEDULES.values()) - {"name"} if name in values}
        word = values["schedule"]
        live = {name: value for name, value in flat.items() if name in _names(SCHEDULES[word])}
        values["schedule"] = {"name": word, **live}
    if "mode" in values:
        inert = _names(*MODES.values()) - _names(MODES[values["mode"]])
        values = {name: value for name, value in values.items() if name not in inert}
    return values


def _names(*classes: type) -> set[str]:
    return {field.name for cls in classes for field in dataclasses.fields(cls)}
