"""SIGTERM: code 75, and the same command goes on to the end of a run nobody stopped."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import started
from patience import PATIENCE_SECONDS
from tiny_runs import results

pytestmark = pytest.mark.drill

SIZES = ("pretrain.max_steps=30", "finetune.max_steps=30", "certify.n=30000", "certify.subset=60")
ATTACK = ("autopgd.subset=320", "autopgd.batch_size=4", "autopgd.num_steps=20", started.ONE_SHAPE)
STAGES = (("pretrain", ""), ("finetune", ""), ("eval", "autopgd"), ("eval", "certify"))


def command(root, *more):
    return started.words("st", "cr", root, *SIZES, *ATTACK, "evaluators=[autopgd,certify]", *more)


def test_stopped_in_every_stage(tmp_path):
    whole = started.undisturbed(command, tmp_path)
    root = tmp_path / "stopped"
    for kind, name in STAGES:
        run = started.Command(command(root), tmp_path / "stopped.log")
        assert run.until(
            lambda run=run, kind=kind, name=name: (
                run.works_at(found := started.stage(root, kind, name)) and started.lines(found) > 2
            )
        )
        os.kill(run.process.pid, signal.SIGTERM)
        assert run.wait() == 75, run.said()
        assert "Traceback" not in run.said()
        assert started.stage(root, kind, name).state() == "resumable"
    started.finished(command(root), tmp_path / "stopped.log")
    assert results(root) == whole


def test_the_installed_command_stopped_in_training(tmp_path):
    root = tmp_path / "stopped"
    script = Path(sys.executable).with_name("rt-train")
    words = [str(script), *command(root, "until=pretrain", "pretrain.max_steps=2000")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            if (found := started.stage(root, "pretrain")) and started.lines(found) > 2:
                process.send_signal(signal.SIGTERM)
                break
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 75, said
    assert "Traceback" not in said
    assert started.stage(root, "pretrain").state() == "resumable"


def test_two_workers_end_with_their_parent(tmp_path):
    def words(root, *more):
        return command(root, "evaluators=[certify]", "pretrain.max_steps=5", "finetune.max_steps=5", *more)

    root, whole = tmp_path / "killed", tmp_path / "whole"
    started.finished(words(root, "until=finetune"), tmp_path / "log")
    started.finished(words(shutil.copytree(root, whole)), tmp_path / "log")
    run = started.Command(words(root, "runtime.devices=2"), tmp_path / "log")
    assert run.until(lambda: run.works_at(found := started.stage(root, "eval")) and journals(found))
    run.process.kill()
    run.process.join()
    started.finished(words(root), tmp_path / "log")
    # Shards of evaluations change no record.
    assert results(root) == results(whole)
    rows = [row for text in journals(started.stage(root, "eval")) for row in text.splitlines()[2:]]
    assert len({tuple(row.split(",")[:4]) for row in rows}) == len(rows)


def journals(found):
    return [path.read_text() for path in sorted(found.path.glob("journal.*.csv"))]
