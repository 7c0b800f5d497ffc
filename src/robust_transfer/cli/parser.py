"""What rt-data and rt-report share: an argument parser whose errors look like those of the other commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from robust_transfer.core.errors import ConfigError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError instead of printing its usage.

    `known` are the options among which the nearest to a misspelt one is sought.
    """

    known: Sequence[str] = ("--help",)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        hint = f"{self.prog} --help"
        if message.startswith("unrecognized arguments: -"):
            hint = did_you_mean(message.split()[2], self.known)
        raise ConfigError(message, hint)
