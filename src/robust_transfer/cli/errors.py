"""How the commands end: one line for a user's error, a traceback only for ours."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from robust_transfer.cli.completion import Offers, answer
from robust_transfer.core.errors import UserError
from robust_transfer.core.logging import messages_on_stderr

EXIT_USER_ERROR = 2
Main = Callable[[Sequence[str] | None], int]


def report_user_error(program: str, error: UserError) -> int:
    """Print `error` to stderr in the form all commands share and return exit code 2."""
    print(f"{program}: error: {error.what}", file=sys.stderr)
    for hint in error.hints:
        print(f"  {hint}", file=sys.stderr)
    return EXIT_USER_ERROR


def command(program: str, offers: Offers) -> Callable[[Main], Main]:
    """Decorate a command's main: user errors become exit code 2, Ctrl-C 130, a closed pipe is no error.

    Parameters
    ----------
    offers : what a word of its command line can become, for a shell's completion

    Notes
    -----
    RT_FULL_ERROR=1 lets every exception through with its traceback.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def wrapped(argv: Sequence[str] | None = None) -> int:
            arguments = list(sys.argv[1:] if argv is None else argv)
            with messages_on_stderr():
                return run(arguments)

        def run(arguments: list[str]) -> int:
            if os.environ.get("RT_FULL_ERROR") == "1":
                return answered(arguments)
            try:
                return answered(arguments)
            except UserError as error:
                return report_user_error(program, error)
            except KeyboardInterrupt:
                print(f"{program}: interrupted; the same command resumes", file=sys.stderr)
                return 130
            except BrokenPipeError:
                # The reader of our output went away (| head): nothing is left to say to it.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0

        def answered(arguments: list[str]) -> int:
            """Answer what every command answers alike, or hand over to it."""
            if arguments[:1] == ["--version"]:
                print(f"{program} {version('robust-transfer')}")
                return 0
            if arguments and arguments[0].partition("=")[0] in ("-sc", "--shell-completion"):
                return answer(program, arguments, offers)
            return main(arguments)

        return wrapped

    return decorate
