import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from patience import PATIENCE_SECONDS
from robust_transfer.core.errors import DataError, UserError
from robust_transfer.distributed.launch import HANDLED, SHUTDOWN_SECONDS, launch


def add(a, b, context):
    return a + b + context.rank


def test_one_device_runs_in_this_process():
    assert launch(lambda context: os.getpid(), (), devices=1, device_kind="cpu") == os.getpid()
    assert launch(add, (1, 2), devices="auto", device_kind="cpu", batch_size=64) == 3


@pytest.mark.slow
def test_the_signal_handlers_come_back():
    handlers = [signal.getsignal(number) for number in HANDLED]
    assert launch(add, (1, 2), devices=2, device_kind="cpu") == 3
    assert [signal.getsignal(number) for number in HANDLED] == handlers


def fail(how, context):
    if context.rank == 1:
        if how == "user":
            raise DataError("pets is missing (expected 37 classes)", "rt-data fetch pets")
        if how == "bug":
            raise KeyError("our bug")
        os.kill(os.getpid(), signal.SIGKILL)
    # As in a collective on the GPU: no signal is handled, and no closed connection noticed.
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    time.sleep(PATIENCE_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "expected", "text"),
    [
        ("user", DataError, "pets is missing"),
        ("bug", RuntimeError, "(?s)worker 1 of 2 failed.*our bug"),
        ("kill", UserError, "worker 1 of 2 was killed by signal 9"),
    ],
)
def test_a_worker_that_dies_brings_the_run_down_with_its_own_message(how, expected, text):
    started = time.monotonic()
    with pytest.raises(expected, match=text) as caught:
        launch(fail, (how,), devices=2, device_kind="cpu")
    assert time.monotonic() - started < SHUTDOWN_SECONDS / 2
    if how == "user":
        assert caught.value.hints == ("rt-data fetch pets",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)]
)
def test_a_signal_reaches_the_workers_and_its_code_comes_back(tmp_path, number, code):
    (tmp_path / "stage.py").write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from robust_transfer.distributed.launch import launch
            from robust_transfer.core.errors import Interrupted
            from robust_transfer.core.signals import signal_flag

            def wait(folder, context):
                with signal_flag() as flag:
                    (folder / f"ready{context.rank}").touch()
                    while not context.any(flag.requested):
                        time.sleep(0.05)
                (folder / f"saved{context.rank}").touch()
                raise Interrupted(flag.number or 15, 'step 1')

            if __name__ == "__main__":
                launch(wait, (Path(sys.argv[1]),), devices=2, device_kind="cpu")
            """
        )
    )
    process = subprocess.Popen([sys.executable, tmp_path / "stage.py", tmp_path], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            assert process.poll() is None and time.monotonic() < deadline, "the workers never started"
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == code, errors.decode()
    assert all((tmp_path / f"saved{rank}").exists() for rank in range(2))
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_joins_what_torchrun_has_started(tmp_path):
    (tmp_path / "joined.py").write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            from robust_transfer.distributed.context import join
            from robust_transfer.distributed.launch import launch

            def show(folder, text, context):
                with join("cpu") as again:
                    assert again is context
                total = context.sum(__import__("torch").tensor(1)).item()
                (folder / f"{text}{context.rank}").write_text(str(total))
                return context.rank

            # Twice, as a run of several stages does.
            with join("cpu"):
                for text in ("first", "second"):
                    arguments = (Path(sys.argv[1]), text)
                    launch(show, arguments, devices="auto", device_kind="cpu", batch_size=64)
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, tmp_path / "joined.py", tmp_path],
        check=True,
        timeout=PATIENCE_SECONDS,
        capture_output=True,
    )
    found = {path.name: path.read_text() for path in Path(tmp_path).glob("*[01]")}
    assert found == {"first0": "2", "first1": "2", "second0": "2", "second1": "2"}
