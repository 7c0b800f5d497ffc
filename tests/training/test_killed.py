"""SIGKILL at moments nobody chose: the run started again ends with the weights of the uninterrupted one."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from robust_transfer.core import rng

SUPPORT = Path(__file__).parents[1] / "support"  # training_jobs.py is there
SCRIPT = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from robust_transfer.distributed.context import single
    from robust_transfer.training.job import train
    from training_jobs import make_job, make_runtime

    name, directory = sys.argv[1], Path(sys.argv[2])
    runtime = make_runtime(save_every_steps=3, num_workers=int(sys.argv[3]))
    train(make_job(name, directory, epochs=None, max_steps=60, runtime=runtime), single("cpu"))
    """
)


def start(name, directory, *, workers=0):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, name, str(directory), str(workers)]
    with errors_of(directory).open("ab") as errors:
        return subprocess.Popen(command, env=environment, stderr=errors)


def errors_of(directory):
    return directory.with_suffix(".errors")


def steps_logged(directory):
    path = directory / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def kill_after(process, directory, steps):
    """Kill once `steps` more lines are logged."""
    deadline = time.monotonic() + 120
    lowest = steps_logged(directory)  # a resumed run first cuts the lines after its checkpoint
    while process.poll() is None and time.monotonic() < deadline:
        lowest = min(lowest, steps_logged(directory))
        if steps_logged(directory) >= lowest + steps and process.poll() is None:
            break
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL, errors_of(directory).read_text()


def killed_and_resumed(name, tmp_path, kills):
    whole = start(name, tmp_path / "whole")
    assert whole.wait(timeout=240) == 0, errors_of(tmp_path / "whole").read_text()
    for kill, steps in enumerate(kills):
        kill_after(start(name, tmp_path / "killed", workers=kill % 2), tmp_path / "killed", steps)
        assert not (tmp_path / "killed" / "model.safetensors").exists()
    last = start(name, tmp_path / "killed")
    assert last.wait(timeout=240) == 0, errors_of(tmp_path / "killed").read_text()
    found, wanted = (tmp_path / part / "model.safetensors" for part in ("killed", "whole"))
    assert found.read_bytes() == wanted.read_bytes()


def moments(seed, number, most):
    return torch.randint(1, most, (number,), generator=rng.generator(seed, "kills")).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["at", "cr", "simclr"])
def test_three_kills(name, tmp_path):
    killed_and_resumed(name, tmp_path, moments(0, 3, 18))
