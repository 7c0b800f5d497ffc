"""`python -m robust_transfer COMMAND ...`: the four commands where their scripts are not on the path."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "train": "plan a run or a sweep, compute what is missing, print the rows",
    "eval": "evaluate any checkpoint, ours or foreign",
    "data": "what is on disk, complete and correct; what is missing and where it comes from",
    "report": "index of runs; tables and figures from records; verification; export",
}
HOME = {"eval": "evaluate"}


def main(argv: list[str]) -> int:
    """Hand over to the command that the first word names, or list the commands."""
    name, *rest = argv or [""]
    name = name.removeprefix("rt-")
    if name in COMMANDS:
        return int(import_module(f"robust_transfer.cli.{HOME.get(name, name)}").main(rest))
    lines = [f"  rt-{command:<8}{meaning}" for command, meaning in COMMANDS.items()]
    text = "\n".join(["python -m robust_transfer COMMAND ..., or as scripts:", *lines])
    if name in ("", "-h", "--help"):
        print(text)
        return 0
    print(f"robust_transfer: error: '{argv[0]}' is not a command\n{text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
