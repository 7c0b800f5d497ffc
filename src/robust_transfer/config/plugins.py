"""Methods that other installed packages bring: entry points that name torch-free config classes.

[project.entry-points."robust_transfer.finetune"]
trades = "my_package.config:TradesConfig"
"""

from __future__ import annotations

import functools

from robust_transfer.config.methods import FINETUNE, PRETRAIN, TrainingConfig
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
        for extension in extensions(group):
            extension.add_to(methods, extension.name, extension.load_class(TrainingConfig))
