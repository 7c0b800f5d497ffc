"""The commands as Python modules, for where their scripts are not on the path."""

import subprocess
import sys

import pytest

from robust_transfer.__main__ import COMMANDS, main


def python(*words):
    return subprocess.run([sys.executable, "-m", *words], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("module", ["train", "evaluate", "data", "report"])
def test_each_command_runs_as_a_module(module):
    done = python(f"robust_transfer.cli.{module}", "--no-such-flag")
    assert done.returncode == 2 and ": error: " in done.stderr
    assert python(f"robust_transfer.cli.{module}", "--help").stdout.startswith(("rt-", "usage: rt-"))


def test_the_package_lists_its_commands():
    done = python("robust_transfer")
    assert done.returncode == 0 and all(f"rt-{name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("word", [*COMMANDS, "rt-eval"])
def test_the_package_hands_over_to_a_command(word, capsys):
    assert main([word, "--no-such-flag"]) == 2
    assert capsys.readouterr().err.startswith(f"rt-{word.removeprefix('rt-')}: error: ")


def test_an_unknown_command_is_refused_with_the_list(capsys):
    assert main(["tain"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "robust_transfer: error: 'tain' is not a command" and len(lines) == 2 + len(COMMANDS)
