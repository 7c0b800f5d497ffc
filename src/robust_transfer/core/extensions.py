"""Parts that other installed packages bring, by entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
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


def extensions(group: str, base: type[Part]) -> dict[str, type[Part]]:
    """Load the classes that the entry points of `group` name, by the entries' names and in their order.

    Raises
    ------
    ConfigError : an entry cannot be imported, or names no subclass of `base`
    """
    classes = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        origin = entry.dist.name if entry.dist is not None else "an installed package"
        try:
            loaded = entry.load()
        except Exception as error:  # a package that is not ours can fail in any way
            raise ConfigError(
                f"{origin} brings {group} '{entry.name}', which cannot be imported ({error})",
                f"mend or remove it: pip uninstall {origin}",
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise ConfigError(
                f"{origin} brings {group} '{entry.name}' = {entry.value} (expected a {base.__name__})"
            )
        classes[entry.name] = loaded
    return classes
