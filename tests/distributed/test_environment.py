import os
import subprocess

import pytest

from robust_transfer.distributed import environment


def test_a_slurm_step_is_translated(monkeypatch):
    step = {
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_PROCID": "9",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "123456",
        "SLURM_STEP_NODELIST": "node[03-04]",
    }
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that monkeypatch removes what is set here
        monkeypatch.delenv(name)
    asked = []

    def scontrol(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="node03\nnode04\n")

    monkeypatch.setattr(environment.subprocess, "run", scontrol)
    assert environment.started_by_launcher() and environment.num_processes() == 16
    environment.adopt_slurm()
    assert asked == [["scontrol", "show", "hostnames", "node[03-04]"]]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["9", "1", "16", "node03", "23456"]
    environment.adopt_slurm()
    assert len(asked) == 1 and environment.num_processes() == 16


@pytest.mark.parametrize(
    ("variables", "started", "first"),
    [
        ({}, False, True),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "3"}, False, True),  # one task of an array
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, True, True),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, True, False),
        ({"WORLD_SIZE": "2", "RANK": "1"}, True, False),
        ({"WORLD_SIZE": "2", "RANK": "0", "SLURM_PROCID": "1"}, True, True),
    ],
)
def test_one_of_many_speaks(monkeypatch, variables, started, first):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.started_by_launcher() == started and environment.is_first_process() == first
