"""SIGKILL at moments nobody chose: the run started again ends with the weights of the uninterrupted one."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from patience import PATIENCE_SECONDS
from robust_transfer.core import rng

SUPPORT = Path(__file__).parents[1] / "support"  # training_jobs.py is there
# Every run has a process of its own, made by a fork: imports would be most of the time.
SCRIPT = textwrap.dedent(
    """
    import os, signal, sys, threading, time
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from robust_transfer.distributed.context import single
    from robust_transfer.training.job import train
    from training_jobs import make_job, make_runtime

    def kill(directory, steps):
        # From inside, so that a busy machine slows the run and its end alike.
        path = directory / "metrics.jsonl"
        logged = lambda: path.read_text().count("\\n") if path.exists() else 0
        lowest = logged()  # a resumed run first cuts the lines after its checkpoint
        while logged() < lowest + steps:
            lowest = min(lowest, logged())
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    def run(name, directory, *, workers=0, kill_after=0):
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if kill_after:
            threading.Thread(target=kill, args=(directory, kill_after), daemon=True).start()
        runtime = make_runtime(save_every_steps=3, num_workers=workers)
        train(make_job(name, directory, epochs=None, max_steps=30, runtime=runtime), single("cpu"))
        os._exit(0)

    name, root, kills = sys.argv[1], Path(sys.argv[2]), [int(word) for word in sys.argv[3:]]
    assert run(name, root / "whole") == 0
    for number, steps in enumerate(kills):
        assert run(name, root / "killed", workers=number % 2, kill_after=steps) == -signal.SIGKILL
        assert not (root / "killed" / "model.safetensors").exists()
    assert run(name, root / "killed") == 0
    """
)


def moments(seed, number, most):
    return torch.randint(1, most, (number,), generator=rng.generator(seed, "kills")).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["at", "simclr"])
def test_three_kills(name, tmp_path):
    path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, name, str(tmp_path), *map(str, moments(0, 3, 10))]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        timeout=PATIENCE_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, wanted = (tmp_path / part / "model.safetensors" for part in ("killed", "whole"))
    assert found.read_bytes() == wanted.read_bytes()
