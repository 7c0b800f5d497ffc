"""Signals to stop: noted once, told apart from an impatient second ^C, and handlers given back."""

import os
import signal

import pytest

from robust_transfer.core import signals
from robust_transfer.core.errors import Interrupted


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_is_noted_and_the_former_handler_comes_back(number):
    former = signal.getsignal(number)
    with signals.signal_flag() as flag:
        assert not flag.requested
        os.kill(os.getpid(), number)
        assert flag.requested and flag.number == number
    assert signal.getsignal(number) is former


def test_a_second_interrupt_stops_at_once_but_its_echo_does_not(monkeypatch):
    now = 100.0
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    with signals.signal_flag():
        os.kill(os.getpid(), signal.SIGINT)
        now += 0.5  # the parent hands the same ^C on
        os.kill(os.getpid(), signal.SIGINT)
        now += 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("interrupted", "called"), [(True, [signal.SIGUSR2]), (False, [])])
def test_a_launchers_handler_is_called_only_where_the_run_was_interrupted(interrupted, called):
    seen = []
    former = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    try:
        with pytest.raises((Interrupted, ValueError)), signals.signal_flag():
            os.kill(os.getpid(), signal.SIGUSR2)
            raise Interrupted(signal.SIGUSR2, "step 3") if interrupted else ValueError
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert seen == called


def test_an_interruption_says_what_is_kept():
    stopped = Interrupted(signal.SIGINT, "step 486")
    assert str(stopped) == "stopped by SIGINT; the same command goes on from step 486"
    assert stopped.code == 130 and Interrupted(signal.SIGTERM, "x").code == 75
