"""What rt-data and rt-report share: an argument parser whose errors look like those of the other commands."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from robust_transfer.core.errors import ConfigError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, with the nearest option to one that is misspelt."""
        hint = f"{self.prog} --help"
        if message.startswith("unrecognized arguments: -"):
            hint = did_you_mean(message.split()[2], self._options())
        raise ConfigError(message, hint)

    def _options(self) -> list[str]:
        """Return the options of this parser and of its commands: the outer one meets what those left."""
        own = list(self._option_string_actions)
        commands = [
            command
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for command in action.choices.values()
        ]
        return own + [option for command in commands for option in command._option_string_actions]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse lists all choices; the nearest one helps more.
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            raise ConfigError(
                f"'{value}' is not a command of {self.prog}",
                did_you_mean(str(value), list(action.choices)),
                f"{self.prog} --help",
            )
        super()._check_value(action, value)
