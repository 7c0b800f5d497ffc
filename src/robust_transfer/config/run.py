"""Configuration of a whole run: what rt-train and rt-eval can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from robust_transfer.config.data import DataConfig, DatasetConfig
from robust_transfer.config.evaluators import (
    LINEAR_PROBE,
    EvaluatorNodes,
    evaluators,
    parse_evaluators,
)
from robust_transfer.config.methods import (
    FINETUNE,
    PRETRAIN,
    CheckpointConfig,
    LinearConfig,
    NoneConfig,
    TrainingConfig,
)
from robust_transfer.config.model import ModelConfig
from robust_transfer.config.plugins import load_methods
from robust_transfer.config.runtime import BudgetConfig, RuntimeConfig
from robust_transfer.config.schema import below, option, parse, parse_choice, refuse_unknown
from robust_transfer.core.choices import CHANNELS
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.nearest import MEANT

METHODS: dict[str, Mapping[str, type]] = {"pretrain": PRETRAIN, "finetune": FINETUNE}


@dataclass
class TrainConfig(EvaluatorNodes):
    """Everything that rt-train can be told; `source`, `pretrain`, ... are config groups."""

    model: ModelConfig = option("architecture")
    source: DatasetConfig = option("data of pre-training")
    pretrain: TrainingConfig | NoneConfig | CheckpointConfig = option("pre-training")
    dataset: DatasetConfig | None = option("target data set; null with until=pretrain only")
    finetune: TrainingConfig | None = option("fine-tuning; null with until=pretrain only")
    budget: BudgetConfig = option("limits on cost")
    data: DataConfig = option("where images are")
    runtime: RuntimeConfig = option("how the machine is used")
    evaluators: list[str] | str = option("evaluators to run, or auto")
    seed: int = option("seed of fine-tuning and of the shots drawn", low=0)
    until: str | None = option("where to stop", choices=("pretrain", "finetune"))
    store: str = option("the runs' root", identity=False)
    on_failure: str = option("a job of a sweep fails", choices=("stop", "continue"), identity=False)
    label: str | None = option("name of the experiment preset, for reports", identity=False)

    def check(self, path: str) -> None:
        """Refuse unknown evaluators."""
        check_names(self.evaluators, ("auto", *evaluators()))


@dataclass
class EvaluateConfig(EvaluatorNodes):
    """Everything that rt-eval can be told."""

    checkpoint: str = option("a stage directory, a key, a file, or weights by name as in rt-report zoo")
    model: ModelConfig | None = option("architecture that the checkpoint must have; null: whatever it has")
    format: str = option("format of a foreign file; auto: recognised by its keys")
    normalize: str | list[list[float]] | None = option("normalisation of a foreign file; null: its own")
    trust: bool = option("let the file run code while it is read", identity=False)
    dataset: DatasetConfig = option("data set to evaluate on")
    linear_probe: LinearConfig = option("training of the last layer by linear_probe")
    budget: BudgetConfig = option("limits on cost")
    data: DataConfig = option("where images are")
    runtime: RuntimeConfig = option("how the machine is used")
    evaluators: list[str] = option("evaluators to run")
    seed: int = option("seed of the shots drawn", low=0)
    store: str = option("the runs' root", identity=False)
    part: str | None = option("which state_dict of the file, such as ema; null: by the format", default=None)
    prefix: str | None = option("what stands before the network's names; null: found", default=None)
    channels: str = option(
        "order of the channels that a foreign file's network takes; Caffe's take bgr",
        choices=CHANNELS,
        default="rgb",
    )
    defence: str | None = option(
        "what stands before the model; denoiser: an image denoiser, see denoiser",
        choices=("denoiser",),
        default=None,
    )
    denoiser: str | None = option("file of a DnCNN, with defence=denoiser", default=None)
    image_size: int | None = option(
        "height and width in pixels of the images that a file is shown; null: as the file or its stem says",
        low=8,
        default=None,
    )
    whole_image: bool | None = option(
        "show test images uncropped, those of the network's size as they are; null: as the data set's "
        "augmentation says, true for a foreign file with a 3x3 stem",
        default=None,
    )

    def check(self, path: str) -> None:
        """Refuse unknown evaluators."""
        check_names(self.evaluators, (*evaluators(), LINEAR_PROBE))
        if (self.defence is None) != (self.denoiser is None):
            raise ConfigError("defence and denoiser belong together", "defence=denoiser denoiser=FILE")
        if self.defence and any(name != "certify" for name in self.evaluators):
            raise ConfigError(f"defence={self.defence} is for certify (found {', '.join(self.evaluators)})")


def check_names(chosen: list[str] | str, known: Sequence[str]) -> None:
    """Refuse evaluators that nobody brings."""
    for name in [chosen] if isinstance(chosen, str) else chosen:
        if name not in known:
            raise ConfigError(f"evaluators='{name}' is unknown", did_you_mean(name, known))


def train_config(values: Mapping[str, Any]) -> TrainConfig:
    """Build rt-train's configuration from plain values, or raise ConfigError."""
    load_methods()
    given = {"pretrain": None, "dataset": None, "finetune": None, **parse_evaluators(values)}
    # What is misspelt is said before what is missing: it is often what was to be chosen.
    elsewhere = partial(_elsewhere, TrainConfig, given)
    refuse_unknown([TrainConfig], given, "", beside=evaluators(), elsewhere=elsewhere)
    missing = [group for group in ("pretrain", "finetune", "dataset") if _is_missing(given, group)]
    for group, classes in METHODS.items():
        given[group] = None if group in missing else parse_choice(classes, given[group], group)
    config: TrainConfig = parse(
        TrainConfig, {**given, "pretrain": given["pretrain"] or NoneConfig("none")}, ""
    )
    _refuse_missing([group for group in missing if group == "pretrain" or config.until != "pretrain"])
    if isinstance(config.pretrain, TrainingConfig):
        config.source = _with_split_seed(config.source, config.pretrain.seed)
    if config.dataset is not None:
        config.dataset = _with_split_seed(config.dataset, config.seed)
    return config


def _is_missing(given: dict[str, Any], group: str) -> bool:
    """Tell that a group has no name, and clear it; what is given of it must be a value of some choice."""
    values = given[group] or {}
    if not isinstance(values, Mapping) or "name" in values:
        return False
    classes = METHODS[group].values() if group in METHODS else [DatasetConfig]
    refuse_unknown(classes, values, group, of=f"any {group}")
    given[group] = None
    return True


def _refuse_missing(missing: Sequence[str]) -> None:
    """Say all at once what a run needs and was not chosen."""
    if len(missing) > 1:
        chosen = " ".join(f"{group}=NAME" for group in missing)
        raise ConfigError(
            f"{', '.join(missing)} are not chosen", f"{chosen}: rt-train --help lists the names"
        )
    for group in missing:
        names = (
            f", one of: {', '.join(METHODS[group])}" if group in METHODS else "; rt-data status lists them"
        )
        raise ConfigError(f"{group} is not chosen", f"{group}=NAME{names}")


def evaluate_config(values: Mapping[str, Any]) -> EvaluateConfig:
    """Build rt-eval's configuration from plain values, or raise ConfigError."""
    given = {"model": None, "dataset": None, **parse_evaluators(values)}
    elsewhere = partial(_elsewhere, EvaluateConfig, {})
    refuse_unknown([EvaluateConfig], given, "", beside=evaluators(), elsewhere=elsewhere)
    missing = [group for group in ("dataset",) if _is_missing(given, group)]
    if not given.get("checkpoint"):
        raise ConfigError("checkpoint is not given", "checkpoint=DIR, KEY or FILE; rt-report runs lists keys")
    _refuse_missing(missing)
    config: EvaluateConfig = parse(EvaluateConfig, given, "")
    if not config.evaluators:
        raise ConfigError("evaluators is empty", f"choose from: {', '.join(evaluators())}")
    config.dataset = _with_split_seed(config.dataset, config.seed)
    return config


def _possible(classes: Mapping[str, type], chosen: Mapping[str, Any], group: str) -> list[type]:
    """Return the class that is chosen of a group, or all that can be; none where there is no such group."""
    if group not in chosen:
        return []
    values = chosen[group]
    name = values.get("name") if isinstance(values, Mapping) else values
    return [classes[name]] if isinstance(name, str) and name in classes else list(classes.values())


def _elsewhere(cls: type, chosen: Mapping[str, Any], name: str) -> str | None:
    """Say in which groups a value stands that is given without one: lr is finetune.lr or pretrain.lr."""
    owners = [("finetune", owner) for owner in _possible(FINETUNE, chosen, "finetune")]
    owners += [("pretrain", owner) for owner in _possible(PRETRAIN, chosen, "pretrain")]
    owners += list(evaluators().items())
    paths = [path for group, owner in owners for path in below(owner, group)]
    paths += [path for path in below(cls, "") if "." in path]
    ends = [path.rpartition(".")[2] for path in paths]
    top = [field.name for field in dataclasses.fields(cls)]
    meant = name if name in ends else MEANT.get(name.replace("_", ""), "")
    if meant not in ends or (meant in top and name != meant):
        return None
    same = list(dict.fromkeys(path for path, end in zip(paths, ends, strict=True) if end == meant))
    return f"it belongs to a group: {', '.join(f'{path}=' for path in same[:4])}"


def _with_split_seed(dataset: DatasetConfig, seed: int) -> DatasetConfig:
    return dataset if dataset.split_seed is not None else dataclasses.replace(dataset, split_seed=seed)
