"""Processes that want the same stage at the same time: one computes it, the others wait and reuse it."""

import os
import signal

import pytest

import started
from tiny_runs import results

pytestmark = pytest.mark.drill

SIZES = (*started.SHORT, "pretrain.max_steps=60")


def begun(runs, word):
    """Return the stages that were begun, over all processes, one entry each time."""
    lines = [line for run in runs for line in run.said().splitlines()]
    return sorted(line.split()[2].rstrip(":") for line in lines if line.endswith(word))


def together(commands, folder):
    runs = [started.Command(words, folder / f"{number}.log") for number, words in enumerate(commands)]
    assert [run.wait() for run in runs] == [0] * len(runs), "\n".join(run.said() for run in runs)
    return runs


def test_two_processes_race_for_every_stage(tmp_path):
    def command(root):
        return started.words("cr", "cr", root, *SIZES, "evaluators=[autopgd,certify]")

    whole = started.undisturbed(command, tmp_path)
    root = tmp_path / "raced"
    runs = together([command(root)] * 2, tmp_path)
    assert begun(runs, ": running") == sorted(found.path.name for found in started.stages(root))
    assert begun(runs, ": resuming") == []
    assert [run.said().count(": done") for run in runs] == [4, 4]
    assert results(root) == whole


def test_three_jobs_share_one_pre_training(tmp_path):
    root = tmp_path / "runs"
    commands = [
        started.words("st", "st", root, *SIZES, "evaluators=[clean]", f"seed={seed}") for seed in range(3)
    ]
    runs = together(commands, tmp_path)
    kinds = [found.kind for found in started.stages(root)]
    assert [kinds.count(kind) for kind in ("pretrain", "finetune", "eval")] == [1, 3, 3]
    assert begun(runs, ": running") == sorted(found.path.name for found in started.stages(root))
    assert started.lines(started.stage(root, "pretrain")) == 60
    assert {found.state() for found in started.stages(root)} == {"done"}


def test_the_one_that_waits_goes_on_where_the_other_was_killed(tmp_path):
    def command(root):
        return started.words("cr", "cr", root, *SIZES, "until=pretrain")

    whole = started.undisturbed(command, tmp_path)
    root = tmp_path / "killed"
    first = started.Command(command(root), tmp_path / "first.log")
    assert first.until(lambda: first.works_at(started.stage(root, "pretrain")))
    os.kill(first.process.pid, signal.SIGSTOP)  # so that it cannot be done before the other one asks
    second = started.Command(command(root), tmp_path / "second.log")
    assert second.until(lambda: ": waiting for process" in second.said())
    first.process.kill()
    assert second.wait() == 0, second.said()
    assert ": resuming" in second.said()
    assert results(root) == whole
