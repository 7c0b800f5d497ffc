"""Processes that a launcher started wait for a lock together."""

import queue
import threading
from pathlib import Path

from robust_transfer.config.data import DataConfig
from robust_transfer.pipeline import run
from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.pipeline.stage import stage_devices
from robust_transfer.store import locks
from robust_transfer.store.directories import StageDirectory
from training_jobs import make_runtime

LONGEST = 10.0  # seconds between two messages before the process group gives the wait up
HELD = 0.5


class Joined:
    """A process of two: what the first one broadcasts, the other one has to get in time."""

    def __init__(self, rank, messages):
        self.is_main, self.messages = rank == 0, messages

    def broadcast(self, value):
        if self.is_main:
            self.messages.put(value)
            return value
        return self.messages.get(timeout=LONGEST)


def runner(context, lines):
    data = DataConfig(root="data", verify=True, on_error="stop")
    return run.Runner(Path(), data, make_runtime(), lines.append, context)


def test_processes_that_wait_for_a_lock_hear_from_the_first_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "MESSAGE_SECONDS", HELD / 10)
    stage, messages = StageDirectory(tmp_path / "finetune" / "st-0123456789ab"), queue.Queue()
    sent, lines, order = [], [], []
    first, second = Joined(0, messages), Joined(1, messages)
    broadcast = first.broadcast
    first.broadcast = lambda value: sent.append(value) or broadcast(value)

    def wait(context):
        with runner(context, lines)._locked(stage, "[1/1] st"):
            order.append("in")

    threads = [threading.Thread(target=wait, args=(context,)) for context in (first, second)]
    with locks.locked(stage, on_wait=lines.append):
        for thread in threads:
            thread.start()
        while len(sent) < 5:
            threads[0].join(timeout=0.05)
        assert order == [], "no process goes on before the lock is free"
    for thread in threads:
        thread.join()
    assert order == ["in", "in"] and messages.empty()
    assert sent[-1] is False and all(sent[:-1])
    assert len(lines) == 1, "and one line per minute is written"


def test_auto_is_one_device_for_a_fine_tuning_alone(base):
    stages = training_stages(base)
    assert [stage_devices(stage, base.runtime) for stage in stages] == [
        1 if stage.kind == "finetune" else "auto" for stage in stages
    ]
    base.runtime.devices = 4
    assert {stage_devices(stage, base.runtime) for stage in stages} == {4}
