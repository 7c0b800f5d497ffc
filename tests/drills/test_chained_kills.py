"""SIGKILL at random moments of every stage, again and again: the end is that of a run nobody disturbed."""

import csv
import itertools
import json
import random
import signal
import time

import pytest

import started
from tiny_runs import results

pytestmark = pytest.mark.drill

STAGES = (("pretrain", ""), ("finetune", ""), ("eval", "autopgd"), ("eval", "certify"))
LINES_APART = {"pretrain": 6, "finetune": 6, "autopgd": 90, "certify": 10}  # between two kills, at most
SIZES = ("pretrain.max_steps=30", "finetune.max_steps=30", "certify.n=30000", "certify.subset=60")
ATTACK = ("autopgd.subset=320", "autopgd.batch_size=4", "autopgd.num_steps=20", started.ONE_SHAPE)
RECIPES = [
    ("cr", "at", ("finetune.attack.num_steps=2",)),
    ("simclr", "cr", ()),
]
FILES = {
    "pretrain": {
        "config.yaml",
        "env.json",
        "status.json",
        "lock",
        "metrics.jsonl",
        "last.pt",
        "model.safetensors",
    },
    "eval": {
        "config.yaml",
        "env.json",
        "status.json",
        "lock",
        "journal.0.csv",
        "records.csv",
        "summary.json",
    },
}


def killed_in(kind, name, command, root, moments):
    """Kill a run some lines and milliseconds after it took up a stage; False where the stage ended first."""
    if not command.until(lambda: command.works_at(started.stage(root, kind, name))):
        raise AssertionError(command.said())
    found = started.stage(root, kind, name)
    lowest, further = started.lines(found), moments.randrange(LINES_APART[name or kind])

    def far_enough():
        nonlocal lowest  # a resumed run first cuts the lines after its checkpoint
        now = started.lines(found)
        lowest = min(lowest, now)
        return now >= lowest + further or found.state() == "done"

    command.until(far_enough)
    time.sleep(moments.uniform(0, 0.1))
    command.process.kill()
    code = command.wait()
    assert code in (-signal.SIGKILL, 0), command.said()
    return code != 0 and found.state() != "done"


def nothing_doubled(root):
    for kind, name in STAGES:
        found = started.stage(root, kind, name)
        if kind != "eval":
            steps = [
                json.loads(line)["step"] for line in (found.path / "metrics.jsonl").read_text().splitlines()
            ]
            assert steps == list(range(1, 31))
            continue
        rows = list(csv.DictReader((found.path / "journal.0.csv").read_text().splitlines()[1:]))
        if name == "autopgd":
            assert sorted(int(row["index"]) for row in rows) == indices(found)
            continue
        drawn = sorted((int(r["index"]), r["purpose"], int(r["start"]), int(r["stop"])) for r in rows)
        for one, other in itertools.pairwise(drawn):
            assert one[:2] != other[:2] or one[3] == other[2], "samples drawn twice, or left out"


def indices(found):
    return [int(row["index"]) for row in csv.DictReader(found.records.read_text().splitlines())]


@pytest.mark.parametrize(("pretrain", "finetune", "more"), RECIPES)
def test_killed_three_times_in_each_stage(pretrain, finetune, more, tmp_path):
    def command(root):
        return started.words(pretrain, finetune, root, *SIZES, *ATTACK, *more, "evaluators=[autopgd,certify]")

    whole = started.undisturbed(command, tmp_path)
    root, moments = tmp_path / "killed", random.Random(f"{pretrain} {finetune}")
    hits = dict.fromkeys(STAGES, 0)
    for kind, name in STAGES:
        for _ in range(3):
            found = started.stage(root, kind, name)
            if found is not None and found.state() == "done":
                break
            run = started.Command(command(root), tmp_path / "killed.log")
            hits[kind, name] += killed_in(kind, name, run, root, moments)
    said = started.finished(command(root), tmp_path / "killed.log")

    # A stage may end before its kill on a fast machine; most must be hit for the drill to mean anything.
    assert min(hits.values()) >= 1, hits
    assert sum(hits.values()) >= 8, hits
    assert "[4/4] eval certify" in said and ": resuming" in said
    assert results(root) == whole
    assert len(results(root)) == 4
    nothing_doubled(root)
    for kind, name in STAGES:
        there = {path.name for path in started.stage(root, kind, name).path.iterdir()}
        assert there - {"flags.0.json"} == FILES["eval" if kind == "eval" else "pretrain"]
