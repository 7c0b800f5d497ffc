"""Processes under torchrun that wait for a lock longer than their process group waits for a message."""

import os
import signal
import subprocess
import sys
import time

import pytest

import started
from patience import PATIENCE_SECONDS

pytestmark = pytest.mark.drill
LIMIT, HELD = 10, 15  # seconds: of the process group, and that the lock is held
SCRIPT = f"""
import sys
from datetime import timedelta
from robust_transfer.distributed import context
from robust_transfer.cli.train import main

context.LONGEST_WAIT = timedelta(seconds={LIMIT})
sys.exit(main(sys.argv[1:]))
"""


def test_they_outlast_it(tmp_path):
    words = started.words("st", "st", tmp_path / "runs", "pretrain.max_steps=60", "until=pretrain")
    words = [word for word in words if not word.startswith("runtime.devices")]
    first = started.Command(words, tmp_path / "first.log")
    assert first.until(lambda: first.works_at(started.stage(tmp_path / "runs", "pretrain")))
    os.kill(first.process.pid, signal.SIGSTOP)  # it holds the lock
    script, log = tmp_path / "train.py", tmp_path / "torchrun.log"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with log.open("w") as stream:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ranks = subprocess.Popen([*torchrun, script, *words], stdout=stream, stderr=stream, env=environment)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ": waiting for process" not in log.read_text():
            assert ranks.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        time.sleep(HELD)
        assert ranks.poll() is None, log.read_text()
        first.process.kill()
        assert ranks.wait(PATIENCE_SECONDS) == 0, log.read_text()
    finally:
        first.process.kill()
        ranks.kill()
    assert started.stage(tmp_path / "runs", "pretrain").state() == "done"
    assert "Traceback" not in log.read_text()
