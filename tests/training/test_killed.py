"""SIGKILL at moments nobody chose: the run started again ends with the weights of the uninterrupted one."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from patience import PATIENCE_SECONDS
from robust_transfer.core import rng

SUPPORT = Path(__file__).parents[1] / "support"  # training_jobs.py is there
SCRIPT = textwrap.dedent(
    """
    import os, signal, sys, threading, time
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from robust_transfer.distributed.context import single
    from robust_transfer.training.job import train
    from training_jobs import make_job, make_runtime

    name, directory, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[4])

    def steps_logged():
        path = directory / "metrics.jsonl"
        return path.read_text().count("\\n") if path.exists() else 0

    def kill():
        # From inside, so that a busy machine slows the run and its end alike.
        lowest = steps_logged()  # a resumed run first cuts the lines after its checkpoint
        while steps_logged() < lowest + steps:
            lowest = min(lowest, steps_logged())
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    if steps:
        threading.Thread(target=kill, daemon=True).start()
    runtime = make_runtime(save_every_steps=3, num_workers=int(sys.argv[3]))
    train(make_job(name, directory, epochs=None, max_steps=60, runtime=runtime), single("cpu"))
    """
)


def start(name, directory, *, workers=0, kill_after=0):
    """Start a run that kills itself once `kill_after` more steps are logged; 0: never."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, name, str(directory), str(workers), str(kill_after)]
    with errors_of(directory).open("ab") as errors:
        return subprocess.Popen(command, env=environment, stderr=errors)


def errors_of(directory):
    return directory.with_suffix(".errors")


def killed_and_resumed(name, tmp_path, kills):
    whole = start(name, tmp_path / "whole")
    assert whole.wait(timeout=PATIENCE_SECONDS) == 0, errors_of(tmp_path / "whole").read_text()
    for kill, steps in enumerate(kills):
        run = start(name, tmp_path / "killed", workers=kill % 2, kill_after=steps)
        code = run.wait(timeout=PATIENCE_SECONDS)
        assert code == -signal.SIGKILL, errors_of(tmp_path / "killed").read_text()
        assert not (tmp_path / "killed" / "model.safetensors").exists()
    last = start(name, tmp_path / "killed")
    assert last.wait(timeout=PATIENCE_SECONDS) == 0, errors_of(tmp_path / "killed").read_text()
    found, wanted = (tmp_path / part / "model.safetensors" for part in ("killed", "whole"))
    assert found.read_bytes() == wanted.read_bytes()


def moments(seed, number, most):
    return torch.randint(1, most, (number,), generator=rng.generator(seed, "kills")).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["at", "cr", "simclr"])
def test_three_kills(name, tmp_path):
    killed_and_resumed(name, tmp_path, moments(0, 3, 18))
