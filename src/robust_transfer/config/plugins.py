"""Methods that other installed packages bring: entry points that name torch-free config classes.

[project.entry-points."robust_transfer.finetune"]
trades = "my_package.config:TradesConfig"
"""

from __future__ import annotations

import functools

from robust_transfer.config.methods import FINETUNE, PRETRAIN, TrainingConfig
from robust_transfer.core.errors import ConfigError
from robust_transfer.core.extensions import extensions

GROUPS = {"robust_transfer.pretrain": PRETRAIN, "robust_transfer.finetune": FINETUNE}


@functools.cache
def load_methods() -> None:
    """Add the methods of other packages to PRETRAIN and FINETUNE; the first call of a process does it.

    Raises
    ------
    ConfigError : an entry point cannot be imported, is not a method's config, or takes a name that is taken
    """
    for group, methods in GROUPS.items():
        for name, config_class in extensions(group, TrainingConfig).items():
            if methods.setdefault(name, config_class) is not config_class:
                raise ConfigError(
                    f"a package brings {group} '{name}' = {config_class.__module__}:{config_class.__name__}, "
                    "and the name is taken",
                    f"another name than {', '.join(methods)}",
                )
