"""Methods that other installed packages bring: entry points that name torch-free config classes.

[project.entry-points."robust_transfer.finetune"]
trades = "my_package.config:TradesConfig"
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points

from robust_transfer.config.methods import FINETUNE, PRETRAIN, TrainingConfig
from robust_transfer.core.errors import ConfigError

GROUPS = {"robust_transfer.pretrain": PRETRAIN, "robust_transfer.finetune": FINETUNE}


@functools.cache
def load_methods() -> None:
    """Add the methods of other packages to PRETRAIN and FINETUNE; the first call of a process does it.

    Raises
    ------
    ConfigError : an entry point cannot be imported, is not a method's config, or takes a name that is taken
    """
    for group, methods in GROUPS.items():
        for entry in entry_points(group=group):
            if methods.setdefault(entry.name, _config_class(entry)) is not _config_class(entry):
                raise ConfigError(
                    f"{_origin(entry)}: the name '{entry.name}' is taken", "choose another name"
                )


def _config_class(entry: EntryPoint) -> type[TrainingConfig]:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{_origin(entry)} cannot be imported: {error}", _uninstall(entry)) from error
    if not (isinstance(found, type) and issubclass(found, TrainingConfig)):
        raise ConfigError(
            f"{_origin(entry)} is {found!r} (expected a class derived from TrainingConfig)", _uninstall(entry)
        )
    return found


def _origin(entry: EntryPoint) -> str:
    return f"entry point '{entry.name} = {entry.value}' of {entry.group}"


def _uninstall(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else entry.module
    return f"correct the package {package}, or uninstall it"
