"""Completion of the four commands, asked as a shell asks, and through bash itself."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from commands import COMMANDS


@pytest.fixture
def offered(monkeypatch, capsys):
    def ask(line):
        monkeypatch.setenv("COMP_LINE", line)
        assert COMMANDS[line.split()[0]](["-sc", "query=bash"]) == 0
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    "line", ["rt-train pretrain=", "rt-train experiment=", "rt-train ", "rt-eval dataset="]
)
def test_what_is_offered_is_public(line, offered):
    words = offered(line)
    assert words and not any(
        part.startswith("_") for word in words for part in word.replace("=", ".").split(".")
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rt-train fine", ["finetune.", "finetune="]),
        ("rt-train finetune.batch_s", ["finetune.batch_size="]),
        ("rt-train -m dataset=food101,pe", ["dataset=food101,pets"]),
        ("rt-train runtime.compile=", ["runtime.compile=false", "runtime.compile=true"]),
        ("rt-train hydra/launcher=sl", ["hydra/launcher=slurm"]),
        ("rt-train --pl", ["--plan"]),
        ("rt-train --explain certify.alp", ["certify.alpha"]),
        ("rt-eval cer", ["certify"]),
        ("rt-eval certify checkpoint=x certify.mode=a", ["certify.mode=adaptive"]),
        ("rt-data st", ["status"]),
        ("rt-data check pe", ["pets"]),
        ("rt-data import --fr", ["--from"]),
        ("rt-report cl", ["claims"]),
        ("rt-report table qui", ["quickstart"]),
        ("rt-report runs --js", ["--json"]),
        ("rt-report figure top", ["top-class"]),
        ("rt-report table methods", ["methods", "methods_mini"]),
        ("rt-report analysis eq", ["equivalence"]),
        ("rt-report export KEY --format saf", ["safetensors"]),
        ("rt-report --source ", ["published", "runs"]),
        ("rt-report table 2 --out ", []),
        ("rt-train finetune=at finetune.sig", []),
        ("rt-train finetune=cr finetune.sig", ["finetune.sigma="]),
        ("rt-train check", []),  # rt-eval's
        ("rt-eval certify pretrain.l", []),
        ("rt-eval --me", []),
        ("rt-train nothing-like-this", []),
    ],
)
def test_the_next_words(line, words, offered):
    assert offered(line) == words


@pytest.mark.parametrize(
    ("command", "shell"), [*((command, "bash") for command in COMMANDS), ("rt-train", "zsh")]
)
def test_the_script_for_a_shell_completes(command, shell, tmp_path, capsys):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    assert COMMANDS[command](["-sc", f"install={shell}"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / command).write_text("#!/bin/sh\necho \"asked $@ of $COMP_LINE\" | tr ' ' '-'\n")
    (tmp_path / command).chmod(0o755)
    start = "autoload -U compinit && compinit -D -u" if shell == "zsh" else ":"
    ask = f"""
        {start}; PATH={tmp_path}:$PATH; source {tmp_path}/script
        COMP_LINE="{command} sta behind" COMP_POINT={len(command) + 4}
        _{command.replace("-", "_")}_words; echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([shell, "-c", ask], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"asked--sc-query=bash-of-{command}-sta"


def test_every_command_tells_its_version(capsys):
    for name, main in COMMANDS.items():
        assert main(["--version"]) == 0
        program, number = capsys.readouterr().out.split()
        assert program == name and number[0].isdigit()


def test_no_completion_loads_torch():
    lines = {
        "train": "rt-train fine",
        "evaluate": "rt-eval ",
        "data": "rt-data check ",
        "report": "rt-report runs --",
    }
    code = "import os, sys\n" + "".join(
        f"os.environ['COMP_LINE'] = '{line}'\n"
        f"from robust_transfer.cli import {module}\n{module}.main(['-sc', 'query=bash'])\n"
        for module, line in lines.items()
    )
    subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"],
        check=True,
        timeout=100,
        stdout=subprocess.DEVNULL,
    )
