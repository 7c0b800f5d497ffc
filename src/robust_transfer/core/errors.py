"""Errors a user can put right: what is wrong, what was expected and found, what to do."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from robust_transfer.core.nearest import nearest

EXIT_RESUMABLE = 75  # EX_TEMPFAIL: what a scheduler takes as "queue it again"
EXIT_INTERRUPTED = 130  # what a shell reports of a command that ^C ended


class UserError(ValueError):
    """Base of the errors that the commands print without a traceback (exit code 2).

    Parameters
    ----------
    what : one line: the thing, what was expected, what was found
    hints : at most two lines: a suggestion, the next command
    """

    def __init__(self, what: str, *hints: str) -> None:
        assert len(hints) <= 2, "an error has at most two hints"
        super().__init__(what)
        self.what = what
        self.hints = hints

    def __str__(self) -> str:
        return "\n  ".join((self.what, *self.hints))


class ConfigError(UserError):
    """A value, a key or a combination of the configuration is wrong."""


class DataError(UserError):
    """A data set is missing, incomplete or not what the catalogue says."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or is not what it should be."""


class EvaluationError(UserError):
    """An evaluation refuses to write a number that could not be trusted."""


class Interrupted(SystemExit):
    """A signal stopped the run, and what it had done is kept: the same command goes on.

    Parameters
    ----------
    number : the signal; ^C exits with 130, what a scheduler sends with 75
    kept : what the same command goes on from, such as "step 486"
    """

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESUMABLE)
        self.number, self.kept = number, kept

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        """Pickle for the way from a worker to its parent."""
        return Interrupted, (self.number, self.kept)

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}; the same command goes on from {self.kept}"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Name the nearest of `choices`, or list them all when none is near."""
    names = sorted(choices)
    if near := nearest(word, names):
        *first, last = [f"'{name}'" for name in near]
        return f"did you mean {', '.join(first)} or {last}?" if first else f"did you mean {last}?"
    shown = names if len(names) <= 20 else [*names[:20], "..."]
    return f"choose from: {', '.join(shown)}"


def install_extra(name: str) -> str:
    """Return the command that installs an optional part of this package."""
    return f"pip install 'robust-transfer[{name}]'"
