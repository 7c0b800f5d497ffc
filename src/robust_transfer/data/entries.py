"""The metadata of data sets, without touching the disk: catalogue.toml, and those of other packages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from robust_transfer.core.errors import ConfigError, did_you_mean
from robust_transfer.core.extensions import extensions

CATALOGUE = Path(__file__).with_name("catalogue.toml")
GROUP = "robust_transfer.datasets"  # entry points of other packages
MEAN_PER_CLASS = "mean_per_class"


@dataclass(frozen=True)
class Archive:
    """One file to download; its fields are explained at the top of catalogue.toml."""

    file: str
    size: str
    md5: str
    url: str | None = None
    into: str = ""
    holds: str = ""
    inner: str = ""


@dataclass(frozen=True, eq=False)  # one object per name, which caches use as their key
class Entry:
    """One set; its fields are explained at the top of catalogue.toml."""

    name: str
    title: str
    reader: str
    licence: str
    layout: str
    folder: str = ""
    num_classes: int | None = None
    train: int | None = None
    test: int | None = None
    origin: str = ""
    augment: str = "crop_flip"
    metric: str = "top1"
    partitions: int = 0
    lossy: bool = False
    version: int = 1
    archives: tuple[Archive, ...] = ()
    file_md5: Mapping[str, str] = field(default_factory=dict)
    data_hash: Mapping[str, str] = field(default_factory=dict)
    class_hash: str = ""
    words: str = ""

    @property
    def top(self) -> str:
        """Return the folder under the data root that the set's archives make."""
        return self.folder.partition("/")[0]

    def size(self, split: str) -> int | None:
        """Return how many images the official split lists: of test, or of the training set."""
        return self.test if split == "test" else self.train


def load(where: str) -> Any:
    """Return what `module:name` names."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def names() -> tuple[str, ...]:
    """Return the names of all sets: the catalogue's, then those of other packages."""
    return tuple(entries())


def get(name: str) -> Entry:
    """Return the entry of a data set; an unknown name is a ConfigError that suggests the nearest."""
    all_entries = entries()
    if name not in all_entries:
        raise ConfigError(f"data set '{name}' is not known", did_you_mean(name, all_entries))
    return all_entries[name]


@cache
def entries() -> dict[str, Entry]:
    """Return all sets by name: the catalogue's, then those of each module that an entry point names.

    Such a module's CATALOGUE is the path of a file like catalogue.toml.
    """
    all_entries = read(CATALOGUE)
    for extension in extensions(GROUP):
        module = extension.load(ModuleType)
        if not hasattr(module, "CATALOGUE"):
            raise extension.refusal("expected a module with CATALOGUE, the path of a TOML file")
        for name, entry in read(Path(module.CATALOGUE)).items():
            extension.add_to(all_entries, name, entry)
    return all_entries


def read(path: Path) -> dict[str, Entry]:
    """Read a catalogue; a table that is not an entry is a ConfigError that names it."""
    return {name: _entry(path, name, values) for name, values in tomllib.loads(path.read_text()).items()}


def _entry(path: Path, name: str, values: dict[str, Any]) -> Entry:
    try:
        archives = tuple(Archive(**archive) for archive in values.pop("archives", ()))
        return Entry(name, **values, archives=archives)
    except TypeError as error:
        raise ConfigError(f"{path}: data set '{name}' cannot be read ({error})") from error
