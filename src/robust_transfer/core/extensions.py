"""Parts that other installed packages bring, by entry points."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from robust_transfer.core.errors import ConfigError

Part = TypeVar("Part")
GROUPS = tuple(
    f"robust_transfer.{kind}"
    for kind in ("pretrain", "finetune", "evaluators", "datasets", "backbones", "tables")
)


def config_folders() -> dict[str, Path]:
    """Return the folder `conf` of every package that brings something, by the package's name."""
    entries = [entry for group in GROUPS for entry in entry_points(group=group)]
    folders = {}
    for package in sorted({entry.module.partition(".")[0] for entry in entries}):
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            if (folder := Path(location) / "conf").is_dir():
                folders[package] = folder
    return folders


@dataclass(frozen=True)
class Extension:
    """A part that an installed package brings, by an entry point; nothing is imported before `load`."""

    entry: EntryPoint

    @property
    def name(self) -> str:
        """Return the name under which the part is brought."""
        return self.entry.name

    @property
    def value(self) -> str:
        """Return where the part is: "module:name"."""
        return self.entry.value

    @property
    def origin(self) -> str:
        """Return the package's name."""
        return self.entry.dist.name if self.entry.dist is not None else "an installed package"

    def load(self, kind: type[Part]) -> Part:
        """Import the part, or raise ConfigError where that fails or it is not of its kind."""
        try:
            loaded = self.entry.load()
        except Exception as error:  # a package that is not ours can fail in any way
            raise ConfigError(
                f"{self.origin} brings {self.entry.group} '{self.name}', which cannot be imported ({error})",
                f"mend or remove it: pip uninstall {self.origin}",
            ) from error
        if not isinstance(loaded, kind):
            raise self.refusal(f"expected a {kind.__name__}")
        return loaded

    def load_class(self, base: type[Part]) -> type[Part]:
        """Import a class, or raise ConfigError where that fails or it is not a subclass of `base`."""
        loaded = self.load(object)
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise self.refusal(f"expected a {base.__name__}")
        return loaded

    def add_to(self, known: dict[str, Part], name: str, part: Part) -> None:
        """Put the part among those that are known, or raise ConfigError where its name is taken."""
        if known.setdefault(name, part) != part:
            raise self.refusal(f"the name '{name}' is taken", f"another name than {', '.join(known)}")

    def refusal(self, why: str, *hints: str) -> ConfigError:
        """Return the error that says what is brought and why it cannot be used."""
        what = f"{self.origin} brings {self.entry.group} '{self.name}' = {self.value} ({why})"
        return ConfigError(what, *hints)


def extensions(group: str) -> list[Extension]:
    """Return what other packages bring of a kind, sorted by name; imports none of it."""
    return [Extension(entry) for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)]
