import sys

import pytest

from robust_transfer.core import progress
from robust_transfer.core.progress import ProgressBar


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture(autouse=True)
def all_messages(caplog):
    caplog.set_level("INFO", "robust_transfer")


def run(monkeypatch, *, shown=True, total=600, seconds_a_step=1.0, steps=150, done=0):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    bar = ProgressBar("cr-digits", total=total, done=done, shown=shown)
    for step in range(steps):
        clock.now += seconds_a_step
        bar.show(f"loss={step}")
        bar.step()
    bar.close()


def test_one_line_a_minute_where_there_is_no_terminal(monkeypatch, caplog):
    run(monkeypatch)
    assert caplog.messages == [
        "cr-digits: step 60 of 600, 9 min left (1 a second) loss=59",
        "cr-digits: step 120 of 600, 8 min left (1 a second) loss=119",
    ]


def test_a_resumed_run_counts_its_own_speed_and_an_endless_one_has_no_end(monkeypatch, caplog):
    run(monkeypatch, done=300, steps=30, seconds_a_step=2.0)
    run(monkeypatch, total=None, steps=60)
    resumed, endless = caplog.messages
    assert resumed.startswith("cr-digits: step 330 of 600, 9 min left (0.5 a second)")
    assert endless.startswith("cr-digits: step 60 (1 a second)")


def test_other_processes_say_nothing(monkeypatch, caplog):
    run(monkeypatch, shown=False)
    assert not caplog.messages


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = ProgressBar("cr-digits-simclr-resnet50-0123456789ab", total=3)
    bar.show("loss=0.5")
    bar.step()
    bar.close()
    shown = capsys.readouterr().err
    assert "cr digits:" in shown and "simclr" not in shown
