"""Compose configurations with Hydra: strict, with errors of our own, single runs and sweeps alike."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robust_transfer.cli.read_once import ReadOnce
from robust_transfer.cli.shipped import PARTS, conf_directory, data_sets
from robust_transfer.config.evaluators import evaluators
from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.extensions import config_folders
from robust_transfer.data import catalogue


@dataclass(frozen=True)
class Job:
    """One run of a command: its overrides and the plain values composed from them."""

    overrides: tuple[str, ...]
    values: dict[str, Any]


@dataclass(frozen=True)
class Composition:
    """What a command line means: its jobs, and Hydra's own node (launcher, sweep directory)."""

    jobs: tuple[Job, ...]
    is_sweep: bool
    launcher: str
    hydra_config: DictConfig  # as composed for the first job, Hydra's own node included


def _brought_nodes() -> list[str]:
    """Return the overrides that add the nodes of evaluators that other packages or the user's files bring."""
    files = group_options("evaluator")
    return [f"+evaluator@{name}={name}" for name in evaluators() if name in files]


class _MoreDirectories(SearchPathPlugin):
    """Puts the directory of --config-dir before the shipped configs, and what packages bring behind them."""

    path: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.path is not None:
            search_path.prepend("command-line", f"file://{self.path}")
        for name, folder in config_folders().items():
            search_path.append(name, f"file://{folder}")


@cache
def _offer_data_sets(names: tuple[str, ...]) -> None:
    """Make the sets of the catalogue choices of their groups; a YAML file of the same name goes first."""
    for group in ("source", "dataset"):
        for name in data_sets(group):
            entry = catalogue.entries()[name]
            values = {
                "defaults": ["/dataset/_base@_here_"],
                "name": name,
                "augment": entry.augment,
                "partition": 1 if entry.partitions else None,
            }
            ConfigStore.instance().store(name, values, group=group)


@contextmanager
def hydra_session(program: str, config_dir: str | None) -> Iterator[None]:
    """Make Hydra ready to compose from the shipped configs and the user's own directory."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a directory")
    GlobalHydra.instance().clear()
    _offer_data_sets(catalogue.names())
    Plugins.instance().register(_MoreDirectories)
    _MoreDirectories.path = None if config_dir is None else Path(config_dir).resolve()
    try:
        with initialize_config_dir(str(conf_directory()), job_name=program, version_base="1.3"):
            _MoreDirectories.path = None  # read once, when the search path is made
            loader: Any = GlobalHydra.instance().config_loader()
            loader.repository = ReadOnce(loader.repository)
            yield
    finally:
        _MoreDirectories.path = None


def read(config_name: str, overrides: list[str], *, multirun: bool) -> Composition:
    """Compose every job that a command line asks for; call inside `hydra_session`."""
    parsed = _parse(overrides)
    strict = [_strict(override) for override in parsed]
    swept = [o.input_line for o in parsed if o.is_sweep_override()]
    first = _compose(config_name, _first_job(strict))
    hydra = first.hydra
    is_sweep = multirun or (hydra.mode is not None and hydra.mode.name == "MULTIRUN")
    if swept and not is_sweep:
        raise ConfigError(f"{swept[0]} is a sweep", "add -m to run all of them")
    launcher = str(hydra.runtime.choices.get("hydra/launcher", "basic"))
    if not is_sweep:
        return Composition((Job(tuple(strict), plain_values(first)),), False, launcher, first)
    params = hydra.sweeper.get("params") or {}
    given = {o.key_or_group for o in parsed}
    preset = [f"{key}={params[key]}" for key in params if _group_of(key) not in given]
    if "cell" in {*params, *given}:
        _refuse_overridden_cells(given - set(map(_group_of, params)))
    everything = [_strict(o) for o in _parse(preset)] + strict
    return Composition(tuple(_jobs(config_name, _split(everything))), True, launcher, first)


def _refuse_overridden_cells(given: set[str]) -> None:
    """Refuse to override what a cell of a table is: a pair of methods, or one beside the preset's sweep."""
    overridden = sorted({"pretrain", "finetune"} & given)
    if overridden:
        raise ConfigError(
            f"{overridden[0]} is set by the cells of this sweep",
            "choose cells instead: cell=NAME,NAME (rt-train --help lists them)",
        )


def checked_overrides(overrides: list[str]) -> list[str]:
    """Return overrides as Hydra takes them, refusing unknown choices; call inside `hydra_session`."""
    parsed = _parse(overrides)
    for override in parsed:
        _strict(override)
    return [*_brought_nodes(), *(str(override.input_line) for override in parsed)]


def plain_values(composed: DictConfig) -> dict[str, Any]:
    """Return a composed config without Hydra's node as plain values, interpolations resolved."""
    with _hydra_errors():
        nodes = {str(key): composed[key] for key in composed if key != "hydra"}
        return {
            key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            for key, node in nodes.items()
        }


def _jobs(config_name: str, jobs: list[list[str]]) -> Iterator[Job]:
    """Compose the jobs of a sweep; those that differ in values alone share what their groups compose to.

    Merging the files of the groups takes longer than all the rest. Jobs that share it set the same values one
    after the other, so none sees another's; only a mapping is merged into what is there, and needs a copy.
    Where pre-trainings are swept by seed, what has none (no pre-training, a file) is one job.
    """
    composed: dict[tuple[str, ...], DictConfig] = {}
    done: set[tuple[str, ...]] = set()
    for given in jobs:
        groups = tuple(o for o in given if not _is_value(o))
        if groups not in composed:
            composed[groups] = _compose(config_name, list(groups))
        config = composed[groups]
        without_seed = "seed" not in (config.get("pretrain") or {})
        overrides = [o for o in given if not (without_seed and o.startswith("++pretrain.seed="))]
        if tuple(overrides) in done:
            continue
        done.add(tuple(overrides))
        with _hydra_errors():
            values = OverridesParser.create().parse_overrides([o for o in overrides if _is_value(o)])
            if any(isinstance(value.value(), dict) for value in values):
                config = copy.deepcopy(config)
            for value in values:
                OmegaConf.update(config, value.key_or_group, value.value(), merge=True, force_add=True)
        yield Job(tuple(overrides), plain_values(config))


def _is_value(override: str) -> bool:
    """Tell a value of ours, as `_strict` writes it, from the choice of a group and from what is Hydra's."""
    return override.startswith("++") and not override.startswith("++hydra")


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    with _hydra_errors():
        return compose(config_name, overrides=[*_brought_nodes(), *overrides], return_hydra_config=True)


@contextmanager
def _hydra_errors() -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        if absent := re.search(r"Could not override '(\w+)/(\w+)'. No match", str(error)):
            group, part = absent.groups()
            raise ConfigError(
                f"{group}.{part} is given, but what {group} chooses here has none",
                f"leave it out, or choose another {group}",
            ) from error
        if launched := re.search(r"Could not override '(hydra\.launcher\.\w+)'", str(error)):
            raise ConfigError(
                f"{launched[1]} is given, but no launcher that has it is chosen", "add hydra/launcher=slurm"
            ) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(lines[0] if lines else type(error).__name__, *lines[1:2]) from error


def _parse(overrides: list[str]) -> list[Override]:
    parsed = []
    for text in overrides:
        try:
            parsed.extend(OverridesParser.create().parse_overrides([_with_group(text)]))
        except HydraException as error:
            raise ConfigError(
                f"'{text}' is not an override (expected key=value)",
                "quote values with special characters: 'key=\"a b\"'",
            ) from error
    return parsed


def _with_group(text: str) -> str:
    """Rewrite `finetune.schedule=cosine`, the choice of a part, to Hydra's `finetune/schedule=cosine`."""
    key, equals, value = text.partition("=")
    group = _group_of(key.lstrip("+"))
    return f"{group}={value}" if equals and group != key else text


def _group_of(key: str) -> str:
    group = key.replace(".", "/")
    return group if group.split("/")[-1] in PARTS and group_options(group) else key


def _strict(override: Override) -> str:
    """Check a group's choice here, and leave unknown keys to our own schema, which knows what is near."""
    text = str(override.input_line)
    key = override.key_or_group
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        _check_hydra(key, override)
        return text
    options = group_options(key)
    if options:
        for choice in _choices(override):
            if choice is None:
                raise ConfigError(f"{key}=null chooses nothing (expected a name)", did_you_mean("", options))
            if str(choice) not in options:
                shown = key.replace("/", ".") if key.split("/")[-1] in PARTS else key
                raise ConfigError(f"{shown}={choice} is unknown", did_you_mean(str(choice), options))
        return text
    if override.is_delete():
        raise ConfigError(
            f"{text} deletes a value (expected every value to be there)", f"set it: {key}=VALUE"
        )
    return "++" + text.lstrip("+")


def _check_hydra(key: str, override: Override) -> None:
    """Refuse a launcher that is not there, and values of one that is not chosen."""
    options = group_options(key) if "/" in key else []
    if options and str(override.value()) not in options:
        raise ConfigError(
            f"{key}={override.value()} is unknown", did_you_mean(str(override.value()), options)
        )


def groups() -> list[str]:
    """List the groups that a command line chooses from; call inside `hydra_session`."""
    loader = GlobalHydra.instance().config_loader()
    names = loader.get_group_options("", results_filter=ObjectType.GROUP)
    return [name for name in names if name not in ("hydra", "evaluator") and group_options(name)]


def group_options(group: str) -> list[str]:
    """List the names that a group offers, those of its subgroups as `subgroup/name`."""
    loader = GlobalHydra.instance().config_loader()
    group = group.split("@")[0]
    names = list(loader.get_group_options(group, results_filter=ObjectType.CONFIG))
    for inner in set(loader.get_group_options(group, results_filter=ObjectType.GROUP)) - set(PARTS):
        choices = loader.get_group_options(f"{group}/{inner}", results_filter=ObjectType.CONFIG)
        names.extend(f"{inner}/{name}" for name in choices)
    return [name for name in names if not name.split("/")[-1].startswith("_")]


def _choices(override: Override) -> list[Any]:
    if override.is_sweep_override():
        with _hydra_errors():
            return list(override.sweep_iterator())
    value = override.value()
    if override.value_type not in (ValueType.ELEMENT, None) or isinstance(value, list | dict):
        raise ConfigError(f"{override.input_line}: {override.key_or_group} takes one name")
    return [None if value is None else value]


def _first_job(overrides: list[str]) -> list[str]:
    return _split(overrides)[0]


def _split(overrides: list[str]) -> list[list[str]]:
    """Expand sweeps into the overrides of every job in the order of Hydra's own sweeper.

    Of two overrides of one key the last counts.
    """
    ways: dict[str, list[str]] = {}
    with _hydra_errors():
        for override in OverridesParser.create().parse_overrides(overrides):
            key = override.get_key_element()
            if not override.is_sweep_override():
                ways[key] = [f"{key}={override.get_value_element_as_str()}"]
            elif override.is_discrete_sweep():
                ways[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            else:
                text = str(override.input_line).lstrip("+")
                raise ConfigError(f"{text} is not a list of values", f"{key.lstrip('+')}=FIRST,SECOND")
    return [list(job) for job in itertools.product(*ways.values())]
